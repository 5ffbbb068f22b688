namespace XenPciBack.Daemon;

/// <summary>Exit codes of the daemon, as sysexits.h numbers them; <see cref="Host.HostUnavailableException"/> brings its own.</summary>
internal static class ExitCode
{
    public const int Success = 0;
    public const int Failure = 1;

    /// <summary>The daemon was drained: nothing is to start it again by itself. The unit in config/systemd knows this number.</summary>
    public const int Drained = 3;

    /// <summary>EX_UNAVAILABLE: something the daemon needs is not there.</summary>
    public const int Unavailable = 69;

    /// <summary>EX_CONFIG: a setting is wrong.</summary>
    public const int Configuration = 78;

    /// <summary>Says on standard error why a command ends, and returns the code it ends with.</summary>
    public static int Refuse(string message, int exitCode)
    {
        Console.Error.WriteLine($"xenpciback: {message}");
        return exitCode;
    }
}
