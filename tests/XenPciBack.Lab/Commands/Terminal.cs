using System.Diagnostics;

namespace XenPciBack.Lab.Commands;

/// <summary>The person's terminal, handed through to dom0.</summary>
internal static class Terminal
{
    /// <summary>"ROWS COLUMNS"; 24 80 where no terminal is.</summary>
    public static string Size => Console.IsOutputRedirected ? "24 80" : $"{Console.WindowHeight} {Console.WindowWidth}";

    /// <summary>Joins standard input and output to a line until the line ends. Every key goes to the other side, Ctrl-C too.</summary>
    public static async Task JoinAsync(Stream line)
    {
        var interactive = !Console.IsInputRedirected;
        if (interactive) Stty("raw", "-echo");
        try
        {
            _ = Console.OpenStandardInput().CopyToAsync(line);
            await line.CopyToAsync(Console.OpenStandardOutput());
        }
        catch (IOException)
        {
            // The machine is off: the line's other way to end.
        }
        finally
        {
            if (interactive) Stty("sane");
        }
    }

    /// <summary>stty works on the terminal it inherits.</summary>
    private static void Stty(params string[] arguments)
    {
        using var stty = Process.Start("stty", arguments);
        stty.WaitForExit();
    }
}
