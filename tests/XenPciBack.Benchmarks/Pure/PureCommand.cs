using System.CommandLine;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Filters;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Order;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using BenchmarkDotNet.Validators;
using Perfolizer.Horology;
using XenPciBack.Daemon.Demo;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>What the decisions of XenPciBack.Protocol cost on their own: time and allocated bytes of each.</summary>
/// <remarks>In this process, which has the daemon's settings: BenchmarkDotNet's usual way builds another one.</remarks>
internal static class PureCommand
{
    private static readonly Type[] Benchmarks =
    [
        typeof(SharedPageBenchmarks),
        typeof(ConfigSpaceBenchmarks),
        typeof(ConnectionBenchmarks),
        typeof(XenStoreWireBenchmarks),
        typeof(ErrorBenchmarks),
    ];

    public static Command Create()
    {
        var quick = new Option<bool>("--quick") { Description = "Run each once, to see that it runs" };
        var filter = new Option<string>("--filter")
        {
            Description = "Only those whose full name matches, as *Config*",
            HelpName = "GLOB",
            DefaultValueFactory = _ => "*",
        };
        var command = new Command("pure", """
            Time and allocated bytes of what is decided without any I/O:
            requests, config space, connections, xenstore frames, errors;
            about two minutes.
            """) { quick, filter };
        command.SetAction(parse => Run(parse.GetValue(quick), parse.GetValue(filter)!));
        return command;
    }

    private static int Run(bool quick, string filter)
    {
        using var artifacts = new TemporaryDirectory();
        var config = ManualConfig.CreateEmpty()
            .AddJob((quick ? Job.Dry : Measured).WithToolchain(InProcessEmitToolchain.Instance))
            .AddFilter(new GlobFilter([filter]))
            .AddDiagnoser(MemoryDiagnoser.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .WithOrderer(new DefaultOrderer(SummaryOrderPolicy.Declared))
            .AddLogger(ConsoleLogger.Default)
            .WithArtifactsPath(artifacts.Path)
            .WithOptions(ConfigOptions.JoinSummary);
        // A quick run proves nothing of speed, so that a Debug build will do.
        if (!quick) config.AddValidator(JitOptimizationsValidator.FailOnError);
        var summaries = BenchmarkRunner.Run(Benchmarks, config);
        var reports = summaries.SelectMany(summary => summary.Reports).ToArray();
        var isInvalid = summaries.Any(summary => summary.HasCriticalValidationErrors);
        return isInvalid || reports is [] || reports.Any(report => !report.Success) ? 1 : 0;
    }

    // Short rounds: what is measured takes nanoseconds, and all of it is to take minutes.
    private static Job Measured => Job.Default
        .WithWarmupCount(3).WithIterationCount(12).WithIterationTime(TimeInterval.FromMilliseconds(200));
}
