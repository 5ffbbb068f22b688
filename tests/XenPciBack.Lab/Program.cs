using XenPciBack.Lab.Images;
using XenPciBack.Lab.Machine;

var clock = System.Diagnostics.Stopwatch.StartNew();
await using var machine = await XenMachine.BootAsync(Release.Parse(args[0]), args[1].Split(','), new MachineOptions { Progress = Console.Error });
Console.WriteLine($"booted {clock.Elapsed}");
var dom0 = machine.DomainZero;
try {
await dom0.UseKernelBackendAsync();
await dom0.MakeAssignableAsync(machine.Devices.Select(d => d.Bdf));
Console.WriteLine($"assignable {clock.Elapsed}");
await using var guest = await dom0.CreateGuestAsync("pv1", [.. machine.Devices.Select(d => d.Bdf)], new GuestOptions { Patience = TimeSpan.FromSeconds(45)});
Console.WriteLine($"guest {clock.Elapsed}");
Console.WriteLine(await guest.RunAsync("lspci -nn; lspci -vvv; uname -a; perl -e 'print 1+1'"));
Console.WriteLine(await dom0.RunAsync($"xenstore-ls -fp {guest.BackendPath}; xenstore-ls -fp {guest.FrontendPath}"));
await guest.ShutdownAsync();
Console.WriteLine($"gone {clock.Elapsed}");
} catch (Exception e) { Console.WriteLine(e); Console.WriteLine(machine.SerialLog); 
Console.WriteLine(await dom0.RunAsync("ps axf | tail -n 30; xl list; tail /run/*.console /var/log/xen/*; tail -n 40 /var/log/xen/console/*; xenstore-ls -f /local/domain"));
}
