using System.Diagnostics;
using Microsoft.Win32.SafeHandles;

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
            // Console's own stream would edit and echo lines, and keep Ctrl-C.
            using var keys = new FileStream(new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, bufferSize: 0);
            _ = keys.CopyToAsync(line);
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

    /// <summary>
    /// All three streams are redirected because .NET puts its own settings back after a child that shares its terminal.
    /// </summary>
    private static void Stty(params string[] settings)
    {
        using var stty = Process.Start(new ProcessStartInfo("stty", ["-F", "/dev/tty", .. settings])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
        })!;
        stty.WaitForExit();
    }
}
