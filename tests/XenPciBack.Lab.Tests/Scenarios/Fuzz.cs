using XenPciBack.Lab.Compare;
using XenPciBack.Lab.Fuzz;
using Xunit.Abstractions;

namespace XenPciBack.Lab.Tests.Scenarios;

/// <summary>Random requests end as under the kernel's backend. <c>lab fuzz</c> is the long form: 5,000 of them, in every mode, on any device.</summary>
[Collection(SharedMachines.Name)]
public class Fuzz(SharedMachines machines, ITestOutputHelper log)
{
    private const int Seed = 20261123, Requests = 300;

    [LabFact]
    public async Task Random_requests_end_as_under_the_kernels_backend_or_as_the_list_of_deviations_says()
    {
        await using var scenario = await machines.BeginAsync(Moment.Booted);
        var mode = new FuzzMode(Permissive: false, Passthrough: true);
        var card = scenario.Devices.Card;
        var section = await BackendFuzz.RunAsync(scenario.Machine, card, Seed, Requests, mode, TextWriter.Null);
        var report = new StringWriter();
        var differences = Report.Write([section], report);
        log.WriteLine(report.ToString());
        Assert.True(differences == 0, report.ToString());
    }
}
