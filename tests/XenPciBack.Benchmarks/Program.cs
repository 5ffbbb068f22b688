using System.CommandLine;
using XenPciBack.Benchmarks.Isolation;
using XenPciBack.Benchmarks.Pure;
using XenPciBack.Benchmarks.Scale;
using XenPciBack.Benchmarks.Watched;
using XenPciBack.Daemon.Commands;
using XenPciBack.Host.Linux;

// The hidden ones are the processes of those who watch, in `watched`.
var monitor = MonitorCommand.Create();
monitor.Hidden = true;
var root = new RootCommand("""
    benchmarks - what XenPciBack costs, measured on this machine without Xen: the
    backend as the daemon has it serves guests of an embedded host. Build with
    -c Release, and leave the machine alone meanwhile.
    """)
{
    PureCommand.Create(),
    ScaleCommand.Create(),
    IsolationCommand.Create(),
    WatchedCommand.Create(),
    monitor,
    Viewer.CreateCommand(),
};

if (args is ["monitor" or Viewer.Name, ..]) LowPriority.OfThisThread();
return await root.Parse(args is [] ? ["--help"] : args)
    .InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
