using System.Globalization;
using System.Text;
using XenPciBack.Lab.Images;

namespace XenPciBack.Lab.Machine;

/// <summary>
/// Scripts/raw-frontend.pl in a guest without xen-pcifront, one line at a time: requests that no kernel would send, and the device's
/// memory and interrupt without a driver.
/// </summary>
public sealed class RawFrontend
{
    private readonly Guest _guest;
    private int _answers;

    private RawFrontend(Guest guest) => _guest = guest;

    /// <summary>A bash command that puts the script into a guest, as /tmp/raw-frontend.pl, with the modules it needs.</summary>
    internal static string Install =>
        $"cat > /tmp/raw-frontend.pl << 'END_OF_PERL'\n{Encoding.UTF8.GetString(Initramfs.Script("raw-frontend.pl"))}\nEND_OF_PERL\nmodprobe -a xen-gntalloc xen-evtchn\nmodprobe xen-privcmd unrestricted=1";

    public static async Task<RawFrontend> ConnectAsync(Guest guest)
    {
        await guest.RunAsync($"{Install}\nmkfifo /tmp/in && {{ sleep 100000 > /tmp/in & perl /tmp/raw-frontend.pl < /tmp/in > /tmp/out 2>&1 & }}");
        return new RawFrontend(guest);
    }

    /// <summary>Carries out one line and returns the words of its answer.</summary>
    public async Task<string[]> AskAsync(string line)
    {
        _answers++;
        var answer = await _guest.RunAsync($"""
            echo '{line}' > /tmp/in
            for try in $(seq 600); do [ $(wc -l < /tmp/out) -ge {_answers} ] && break; sleep 0.1; done
            sed -n {_answers}p /tmp/out
            """);
        return answer.Trim() is { Length: > 0 } words ? words.Split(' ') : throw new LabException($"guest {_guest.Name}: no answer to: {line}\n{await _guest.RunAsync("cat /tmp/out")}");
    }

    /// <summary>A request; the answer is its error and its value.</summary>
    public async Task<(int Error, uint Value)> RequestAsync(uint command, int offset = 0, int size = 0, uint value = 0)
    {
        var answer = await AskAsync(string.Create(CultureInfo.InvariantCulture, $"op {command} 0 0 0 {offset} {size} {value}"));
        return (int.Parse(answer[0], CultureInfo.InvariantCulture), uint.Parse(answer[1], CultureInfo.InvariantCulture));
    }
}
