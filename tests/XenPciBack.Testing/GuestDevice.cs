using System.Globalization;
using XenPciBack.Protocol;
using XenPciBack.Simulation;
using XenPciBack.Simulation.Guests;

namespace XenPciBack.Testing;

/// <summary>A device as its guest has it: every call is a request through the shared page.</summary>
public readonly struct GuestDevice
{
    private const uint EnableMsi = 2, DisableMsi = 3, EnableMsix = 4, DisableMsix = 5;

    private readonly SimulatedGuest _guest;
    private readonly VirtualBdf _at;

    internal GuestDevice(SimulatedGuest guest, VirtualBdf at) => (_guest, _at) = (guest, at);

    /// <exception cref="UnexpectedAnswerException">The read failed or was not answered in time.</exception>
    public async Task<uint> ReadAsync(Register register)
    {
        var answer = await TryReadAsync(register).ConfigureAwait(false);
        return answer is { Error: 0, TimedOut: false } ? answer.Value
            : throw new UnexpectedAnswerException($"guest {_guest.Name}, {_at}: read of {register}", answer);
    }

    public Task<FrontendAnswer> TryReadAsync(Register register) =>
        _guest.Frontend.ReadConfigAsync(_at.Segment, _at.Bus, _at.DevFn, register.Offset, register.Size);

    /// <exception cref="UnexpectedAnswerException">The write failed or was not answered in time.</exception>
    public async Task WriteAsync(Register register, uint value)
    {
        var answer = await TryWriteAsync(register, value).ConfigureAwait(false);
        if (answer is not { Error: 0, TimedOut: false })
            throw new UnexpectedAnswerException($"guest {_guest.Name}, {_at}: write of {value:x} to {register}", answer);
    }

    public Task<FrontendAnswer> TryWriteAsync(Register register, uint value) =>
        _guest.Frontend.WriteConfigAsync(_at.Segment, _at.Bus, _at.DevFn, register.Offset, register.Size, value);

    public Task<FrontendAnswer> EnableMsiAsync() => AskAsync(EnableMsi);

    public Task<FrontendAnswer> DisableMsiAsync() => AskAsync(DisableMsi);

    /// <param name="entries">Indices of the device's MSI-X table.</param>
    public Task<FrontendAnswer> EnableMsixAsync(params ushort[] entries) => _guest.Frontend.SendAsync(
        new FrontendRequest(EnableMsix, _at.Segment, _at.Bus, _at.DevFn, Value: (uint)entries.Length)
        {
            MsixEntries = [.. entries],
        });

    public Task<FrontendAnswer> DisableMsixAsync() => AskAsync(DisableMsix);

    /// <summary>A request that is not about config space.</summary>
    /// <param name="command">One of pciif.h, or any other number.</param>
    public Task<FrontendAnswer> AskAsync(uint command) =>
        _guest.Frontend.SendAsync(new FrontendRequest(command, _at.Segment, _at.Bus, _at.DevFn));

    /// <summary>Switches on memory decoding and bus mastering, as a driver does first.</summary>
    public Task TurnOnAsync() => WriteAsync(Register.Command, CommandBits.Memory | CommandBits.Master);
}

/// <summary>The devices of a guest.</summary>
public static class GuestDevices
{
    /// <param name="index">0 for the first device that the guest's kernel has found; they are in the order of their addresses.</param>
    public static GuestDevice Device(this SimulatedGuest guest, int index) => guest.DeviceAt(guest.Frontend.Devices[index].Address);

    /// <param name="address">As the guest writes it, 0000:00:01.0, whether it has found a device there or not.</param>
    public static GuestDevice DeviceAt(this SimulatedGuest guest, string address) =>
        VirtualBdf.TryParse(address, out var at) ? new GuestDevice(guest, at)
            : throw new ArgumentException($"'{address}' is no address of a guest's device; expected ssss:bb:dd.f", nameof(address));
}

/// <summary>A guest was answered something else than the test needs to go on.</summary>
public sealed class UnexpectedAnswerException(string what, FrontendAnswer answer) : Exception(string.Create(
    CultureInfo.InvariantCulture,
    $"{what}: {(answer.TimedOut ? "not answered in time" : $"error {answer.Error}, value {answer.Value:x}")}; expected success"));
