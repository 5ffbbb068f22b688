using System.CommandLine;
using Serilog;
using XenPciBack.Daemon;
using XenPciBack.Daemon.Commands;
using XenPciBack.Daemon.Configuration;
using XenPciBack.Daemon.Control;
using XenPciBack.Fleet;
using XenPciBack.Host;
using XenPciBack.XenStore;

var root = new RootCommand("xenpciback - the PCI backend of a Xen host as a daemon")
{
    RunCommand.Create(),
    DemoCommand.Create(),
    StatusCommand.Create(),
    IncidentsCommand.Create(),
    ConfigCommand.Create(),
    TraceCommand.Create(),
    ReplayCommand.Create(),
    QuarantineCommand.Create(),
    HideCommands.Hide(),
    HideCommands.Unhide(),
    HideCommands.List(),
    TakeCommand.Create(),
    HandoverCommand.Create(),
    DrainCommand.Create(),
    MonitorCommand.Create(),
    FleetCommand.Create(),
    FaultCommand.Create(),
};

try
{
    return await root.Parse(args).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = TimeSpan.FromMinutes(1) });
}
catch (SettingsException e)
{
    return ExitCode.Refuse(e.Message, ExitCode.Configuration);
}
catch (FleetException e)
{
    return ExitCode.Refuse(e.Message, ExitCode.Configuration);
}
catch (HostUnavailableException e)
{
    return ExitCode.Refuse(e.Message, e.ExitCode);
}
catch (DaemonUnreachableException e)
{
    return ExitCode.Refuse(e.Message, ExitCode.Unavailable);
}
catch (XenStoreUnreachableException e)
{
    return ExitCode.Refuse(e.Message, ExitCode.Unavailable);
}
finally
{
    await Log.CloseAndFlushAsync();
}
