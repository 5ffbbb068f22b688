using System.CommandLine;
using XenPciBack.Lab;
using XenPciBack.Lab.Commands;

var root = new RootCommand("""
    lab - a real Xen to try XenPciBack on, emulated by QEMU: hypervisor, xl, xenstored, dom0 and guest
    kernels are Debian's own, unchanged.

    Images are built once from Debian packages and kept in $XENPCIBACK_LAB_CACHE (~/.cache/xenpciback-lab).
    Devices are QEMU's PCI devices by QEMU's names; properties follow after colons, as in
    virtio-rng-pci:aer=on:disable-legacy=on; the word root-port puts a device behind a PCIe root port.
    """)
{
    ImagesCommand.Create(),
    CompareCommand.Create(),
    FuzzCommand.Create(),
    ChurnCommand.Create(),
    BenchCommand.Create(),
    KernelCommand.Create(),
    ShellCommand.Create(),
    XenStoreTestsCommand.Create(),
};

try
{
    return await root.Parse(args).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (LabException failure)
{
    Console.Error.WriteLine($"lab: {failure.Message}");
    return 2;
}
