using System.ComponentModel;
using System.Diagnostics;
using XenPciBack.Protocol;

namespace XenPciBack.Host.Linux;

/// <summary>The toolstack is xl.</summary>
internal sealed class XlToolstack : IToolstack
{
    /// <summary>Beyond the 10 s that xl gives a guest to let go of a device.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(1);

    public async Task<string?> DetachAsync(DomainId guest, HostBdf device)
    {
        using var patience = new CancellationTokenSource(Patience);
        try
        {
            using var xl = Process.Start(new ProcessStartInfo("xl", ["pci-detach", guest.ToString(), device.ToString()]) { RedirectStandardError = true })!;
            try
            {
                var said = await xl.StandardError.ReadToEndAsync(patience.Token).ConfigureAwait(false);
                await xl.WaitForExitAsync(patience.Token).ConfigureAwait(false);
                return xl.ExitCode == 0 ? null : $"xl pci-detach ended with {xl.ExitCode}: {said.Trim()}";
            }
            catch (OperationCanceledException)
            {
                xl.Kill();
                return $"xl pci-detach was not done within {Patience.TotalSeconds} s";
            }
        }
        catch (Win32Exception e)
        {
            return $"xl cannot be started: {e.Message}";
        }
    }
}
