using System.Diagnostics;

namespace XenPciBack.Simulation.Tests.XenStored;

/// <summary>Runs the programs that people use with xenstored.</summary>
internal static class XenTool
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60); // for broken code only

    /// <summary>In PATH, in the directory of a Xen version, or where TEST_XENSTORE says; null when it is nowhere.</summary>
    public static string? Find(string program) =>
        new[] { Environment.GetEnvironmentVariable("TEST_XENSTORE") }.Where(path => path is not null && Path.GetFileName(path) == program)
            .Concat((Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(directory => Path.Combine(directory, program)))
            .Concat(Directory.GetDirectories("/usr/lib", "xen-*").Select(directory => Path.Combine(directory, "bin", program)))
            .FirstOrDefault(File.Exists);

    public static Process Start(string socket, string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(Find(program)!, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["XENSTORED_PATH"] = socket },
        };
        return Process.Start(start)!;
    }

    /// <summary>The exit code and everything printed.</summary>
    public static async Task<(int ExitCode, string Output)> RunAsync(string socket, string program, params string[] arguments)
    {
        using var process = Start(socket, program, arguments);
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync().WaitAsync(Limit);
        return (process.ExitCode, await output + await errors);
    }
}
