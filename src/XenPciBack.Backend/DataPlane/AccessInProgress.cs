using System.Globalization;
using XenPciBack.Protocol;

namespace XenPciBack.Backend.DataPlane;

/// <summary>
/// What a device is being asked, and for how long, for those who want to know while its actor cannot answer. Written by
/// the thread that makes the access; the others may see it a moment late.
/// </summary>
internal sealed class AccessInProgress(DomainId guest, HostBdf device)
{
    /// <summary>An access that lasts as long is slow.</summary>
    public static readonly TimeSpan Slow = TimeSpan.FromSeconds(1);

    private const int NoRegister = -1;

    // By Environment.TickCount64; 0: none.
    private long _began;
    private string _what = "";
    private int _register = NoRegister;
    private long _slowOnes;

    public DomainId Guest => guest;

    public HostBdf Device => device;

    /// <summary>How many accesses were slow, the present one included.</summary>
    public long SlowOnes => Volatile.Read(ref _slowOnes);

    /// <summary>For how long the present access has lasted; null if there is none.</summary>
    public TimeSpan? Lasts => Volatile.Read(ref _began) is not 0 and var began
        ? TimeSpan.FromMilliseconds(Environment.TickCount64 - began) : null;

    /// <summary>For log lines, for example "a read of register 0x10".</summary>
    public string What
    {
        get
        {
            var register = Volatile.Read(ref _register);
            return register == NoRegister ? _what
                : string.Create(CultureInfo.InvariantCulture, $"{_what} 0x{register:x2}");
        }
    }

    public void Begin(long now)
    {
        Describe("an access");
        Volatile.Write(ref _began, now);
    }

    /// <param name="what">Names what is asked; with a register, what comes before its offset.</param>
    /// <param name="register">Offset in bytes.</param>
    public void Describe(string what, int register = NoRegister)
    {
        _what = what;
        Volatile.Write(ref _register, register);
    }

    public void End() => Volatile.Write(ref _began, 0);

    /// <summary>The present access has become slow.</summary>
    /// <returns>How many were, this one included.</returns>
    public long CountSlow() => Interlocked.Increment(ref _slowOnes);
}
