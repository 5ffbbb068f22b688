using System.Runtime.CompilerServices;

namespace XenPciBack.Web.Tests;

/// <summary>A test in Debian's Chromium; skipped with one line where it is missing.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class BrowserFactAttribute : FactAttribute
{
    public const string Chromium = "/usr/bin/chromium";

    public BrowserFactAttribute(
        [CallerMemberName] string test = "", [CallerFilePath] string? file = null, [CallerLineNumber] int line = -1)
        : base(file, line)
    {
        if (File.Exists(Chromium)) return;
        // `dotnet test` prints the names of skipped tests and not the reasons, so the name tells the reason.
        Skip = $"{Chromium} is missing (Debian's package chromium)";
        DisplayName = $"{test}: {Skip}";
    }
}
