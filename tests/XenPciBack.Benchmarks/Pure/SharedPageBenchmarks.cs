using BenchmarkDotNet.Attributes;
using XenPciBack.Protocol.SharedPage;

namespace XenPciBack.Benchmarks.Pure;

/// <summary>Each request: out of the page, and the answer into it.</summary>
public class SharedPageBenchmarks
{
    private readonly byte[] _page = GC.AllocateArray<byte>(SharedPageLayout.PageSize, pinned: true);
    private readonly PciAnswer _answer = new(PciOpError.Success, 0x10D3_8086);
    private PciRequest _request = null!;

    [GlobalSetup]
    public void PostARead()
    {
        _page[SharedPageLayout.Flags] = (byte)SharedPageLayout.FrontendActive;
        _page[SharedPageLayout.OpAccessSize] = 4;
        _request = CopyRequest();
    }

    [Benchmark]
    public PciRequest CopyRequest() => new SharedPageView(_page).CopyRequest();

    [Benchmark]
    public void Complete() => new SharedPageView(_page).Complete(_answer);

    /// <summary>What is looked at before an answer that comes late.</summary>
    [Benchmark]
    public bool StillHolds()
    {
        _page[SharedPageLayout.Flags] = (byte)SharedPageLayout.FrontendActive;
        return new SharedPageView(_page).StillHolds(_request);
    }
}
