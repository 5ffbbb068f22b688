using System.Diagnostics;
using System.Globalization;
using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Machine;

namespace XenPciBack.Lab.Fuzz;

/// <summary>A sequence carried out by a guest under one backend.</summary>
internal sealed record FuzzRun
{
    /// <summary>How long the guest may go without one more answer; each takes a millisecond.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    public required IReadOnlyList<FuzzOutcome> Outcomes { get; init; }

    /// <summary>dom0's view when the requests were through and the device was still the guest's.</summary>
    public required byte[] HostConfig { get; init; }

    public required byte[] HostConfigAfterDestroy { get; init; }

    public required SortedDictionary<string, string> BackendNodes { get; init; }

    /// <param name="closed">The state the backend comes to rest in when the frontend has closed and its guest goes on; it is left out of the nodes.</param>
    public static async Task<FuzzRun> CarryOutAsync(DomainZero dom0, QemuDevice device, bool permissive, IReadOnlyList<FuzzOperation> operations, int closed)
    {
        await using var guest = await dom0.CreateGuestAsync("pv1", [device.Bdf],
            new GuestOptions { LoadPcifront = false, DeviceOptions = permissive ? "permissive=1" : "" });
        await guest.RunAsync(RawFrontend.Install);
        await guest.RunAsync($"cat > /tmp/lines << 'END'\n{string.Join('\n', operations.Select(operation => operation.Line))}\nEND");
        var outcomes = await SendAsync(guest, operations);

        var state = $"{guest.BackendPath}/state";
        await dom0.WaitUntilAsync($"the backend to be in state {closed}", $"[ \"$(xenstore-read {state})\" = {closed} ]");
        var (nodes, config) = (await dom0.RunAsync($"xenstore-ls -fp {guest.BackendPath} | grep -v '^{state} '"), await HostConfigAsync(dom0, device));
        await guest.DestroyAsync();
        return new FuzzRun
        {
            Outcomes = outcomes, HostConfig = config, HostConfigAfterDestroy = await HostConfigAsync(dom0, device),
            BackendNodes = XenStoreTree.Parse(nodes, guest.DomainId),
        };
    }

    private static async Task<IReadOnlyList<FuzzOutcome>> SendAsync(Guest guest, IReadOnlyList<FuzzOperation> operations)
    {
        await guest.RunAsync("{ perl /tmp/raw-frontend.pl < /tmp/lines > /tmp/answers 2>&1; echo $? > /tmp/exit; } &");
        var (answered, since) = (0, Stopwatch.StartNew());
        while (true)
        {
            var now = await guest.RunAsync("cat /tmp/exit 2> /dev/null || { sleep 1; echo $(wc -l < /tmp/answers) so far; }", Patience);
            if (!now.Contains("so far", StringComparison.Ordinal)) break;
            if (int.Parse(now.Split(' ')[0], CultureInfo.InvariantCulture) is var count && count > answered) (answered, since) = (count, Stopwatch.StartNew());
            if (since.Elapsed > Patience) throw new LabException($"no answer for {Patience.TotalMinutes} minutes to request {answered}: {operations[answered]}");
        }
        var answers = (await guest.RunAsync("cat /tmp/answers")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (answers.Length != operations.Count)
            throw new LabException($"{operations.Count} requests, {answers.Length} answers; the last: {answers.LastOrDefault()}; the next request: {operations.ElementAtOrDefault(answers.Length)}");
        return [.. answers.Select(FuzzOutcome.Parse)];
    }

    public static Task<byte[]> HostConfigAsync(DomainZero dom0, QemuDevice device) => dom0.ReadFileAsync($"/sys/bus/pci/devices/{device.Bdf}/config");
}
