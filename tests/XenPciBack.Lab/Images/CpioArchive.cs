using System.Globalization;
using System.Text;

namespace XenPciBack.Lab.Images;

/// <summary>
/// Writes an initramfs archive: cpio's "newc" format (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
/// The kernel unpacks several archives in a row, so a second one can add to or replace files of the first.
/// </summary>
internal sealed class CpioArchive(Stream output) : IDisposable
{
    private readonly HashSet<string> _directories = [];
    private int _inode;

    public void AddFile(string path, ReadOnlySpan<byte> content, bool executable = false)
    {
        AddDirectory(Parent(path));
        Entry(path, executable ? 0x81ED : 0x81A4, content); // S_IFREG | 0755 or 0644
    }

    public void AddLink(string path, string target)
    {
        AddDirectory(Parent(path));
        Entry(path, 0xA1FF, Encoding.UTF8.GetBytes(target)); // S_IFLNK | 0777
    }

    public void AddDirectory(string path)
    {
        if (path.Length == 0 || !_directories.Add(path)) return;
        AddDirectory(Parent(path));
        Entry(path, 0x41ED, []); // S_IFDIR | 0755
    }

    public void Dispose() => Entry("TRAILER!!!", 0, []);

    private static string Parent(string path) => path.LastIndexOf('/') is >= 0 and var slash ? path[..slash] : "";

    private void Entry(string path, int mode, ReadOnlySpan<byte> content)
    {
        var name = Encoding.UTF8.GetBytes(path + '\0');
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        int[] fields = [++_inode, mode, 0, 0, 1, 0, content.Length, 0, 0, 0, 0, name.Length, 0];
        var header = "070701" + string.Concat(fields.Select(field => field.ToString("x8", CultureInfo.InvariantCulture)));
        output.Write(Encoding.ASCII.GetBytes(header));
        output.Write(name);
        Pad(header.Length + name.Length);
        output.Write(content);
        Pad(content.Length);
    }

    private void Pad(int length) => output.Write(stackalloc byte[-length & 3]);
}
