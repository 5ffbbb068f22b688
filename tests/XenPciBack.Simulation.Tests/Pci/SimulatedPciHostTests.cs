using XenPciBack.Host;
using XenPciBack.Protocol;
using XenPciBack.Protocol.SharedPage;
using XenPciBack.Simulation.Pci;
using XenPciBack.Simulation.Pci.Devices;

namespace XenPciBack.Simulation.Tests.Pci;

public sealed class SimulatedPciHostTests
{
    private static readonly HostBdf Bdf = HostBdf.Parse("0000:03:00.0");

    private readonly SimulatedPciHost _host = new();
    private readonly IPciHost _process;

    public SimulatedPciHostTests() => _process = _host.OfOneProcess();

    [Fact]
    public void An_open_function_reads_and_writes_the_hardware()
    {
        var model = _host.Plug(QemuEdu.At(Bdf));
        using var function = _process.Open(Bdf);
        Assert.Equal(PciOpError.Success, function.Write(0x04, 2, 0x0006));
        Assert.Equal(PciOpError.Success, function.Read(0x04, 2, out var command));
        Assert.Equal((0x0006u, 0x0006u, 17), (command, model.Read(0x04, 2), function.Irq));
    }

    [Theory]
    [InlineData(null, "it has no driver")]
    [InlineData("e1000e", "driver e1000e has it, pciback should; run: xl pci-assignable-add 0000:03:00.0")]
    public void Only_functions_set_aside_for_guests_open(string? driver, string reason)
    {
        _host.Plug(QemuEdu.At(Bdf), driver);
        Assert.Contains(reason, Assert.Throws<PciFunctionUnavailableException>(() => _process.Open(Bdf)).Message, StringComparison.Ordinal);
        _host.SetDriver(Bdf, "pciback");
        _process.Open(Bdf).Dispose();
    }

    [Fact]
    public void What_is_not_there_does_not_open() =>
        Assert.Contains("no such device", Assert.Throws<PciFunctionUnavailableException>(() => _process.Open(Bdf)).Message, StringComparison.Ordinal);

    [Fact]
    public void Open_functions_are_counted()
    {
        _host.Plug(QemuEdu.At(Bdf));
        var function = _process.Open(Bdf);
        Assert.Equal(1, _host.OpenFunctions);
        function.Dispose();
        function.Dispose();
        Assert.Equal(0, _host.OpenFunctions);
        Assert.Throws<ObjectDisposedException>(() => function.Read(0, 4, out _));
    }

    [Fact]
    public void A_function_pulled_out_is_not_found()
    {
        var model = _host.Plug(QemuEdu.At(Bdf));
        using var function = _process.Open(Bdf);
        model.IsPresent = false;
        Assert.Equal((PciOpError.DeviceNotFound, 0xFFFFu), (function.Read(0, 2, out var value), value));
        Assert.Equal(PciOpError.DeviceNotFound, function.Write(4, 2, 6));
    }

    [Fact]
    public void A_reset_puts_the_registers_back_where_the_kernel_knows_a_way()
    {
        var model = _host.Plug(Nvme.At(Bdf));
        using var function = _process.Open(Bdf);
        function.Write(0x04, 2, 0x0006);
        Assert.Null(function.TryReset());
        Assert.Equal((0u, 1), (model.Read(0x04, 2), model.Resets));
    }

    [Fact]
    public void A_device_without_reset_says_why()
    {
        _host.Plug(QemuEdu.At(Bdf));
        using var function = _process.Open(Bdf);
        Assert.NotNull(function.TryReset());
    }

    [Fact]
    public void The_kernel_serves_only_the_guests_it_was_given()
    {
        _host.ServeByKernel(new DomainId(5), 0);
        Assert.True(_process.KernelBackendServes(new DomainId(5), 0));
        Assert.False(_process.KernelBackendServes(new DomainId(6), 0));
    }
}
