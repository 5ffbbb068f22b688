using System.CommandLine;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Commands;

internal static class ImagesCommand
{
    public static Command Create()
    {
        var release = LabOptions.Release();
        var command = new Command("images", "Build a release's images, where the cache lacks them (1-2 minutes).") { release };
        command.SetAction(async (parsed, cancellation) =>
        {
            var wanted = Release.Parse(parsed.GetValue(release)!);
            LabOptions.Require(wanted);
            var images = await LabImages.EnsureAsync(wanted, Console.Error, cancellation);
            Console.WriteLine(Path.GetDirectoryName(images.RootDisk));
            return 0;
        });
        return command;
    }
}
