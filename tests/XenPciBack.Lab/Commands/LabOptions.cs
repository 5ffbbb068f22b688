using System.CommandLine;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Commands;

/// <summary>Options several commands share.</summary>
internal static class LabOptions
{
    public static Option<string> Release()
    {
        var option = new Option<string>("--release")
        {
            Description = "Debian release: bookworm (Xen 4.17, Linux 6.1) or trixie (Xen 4.20, Linux 6.12)",
            DefaultValueFactory = _ => Images.Release.Bookworm.Name,
        };
        option.AcceptOnlyFromAmong([.. Images.Release.All.Select(release => release.Name)]);
        return option;
    }

    public static Option<string> Devices() => new("--devices")
    {
        Description = "QEMU device names, separated by commas",
        DefaultValueFactory = _ => "e1000e,edu",
    };

    public static string[] List(string text) => text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>Refuses in one line where this machine cannot run the lab.</summary>
    public static void Require(Release release)
    {
        if (Prerequisites.Missing(release) is { } missing) throw new LabException(missing);
    }
}
