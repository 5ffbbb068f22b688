using XenPciBack.Host.Linux;

namespace XenPciBack.Host.Tests.Linux;

public class XlToolstackTests
{
    [Fact]
    public void Domains_that_have_shut_down_crashed_or_are_dying_have_ended()
    {
        var listing = """
            Name                                        ID   Mem VCPUs	State	Time(s)
            Domain-0                                     0  1536     2     r-----      60.2
            pv1                                          1   256     1     -b----       9.9
            with some spaces                            12   256     1     ---s--       3.1
            (null)                                      13     0     1     --ps-d       3.1
            crashed                                     14   256     1     ----c-      10.0
            new                                         15   256     0     --p---       0.0
            """;
        Assert.Equal([12, 13, 14], XlToolstack.EndedIn(listing).Select(domain => domain.Value).Order());
    }

    [Fact]
    public void A_name_that_looks_like_a_state_is_none() =>
        Assert.Empty(XlToolstack.EndedIn("Name ID Mem VCPUs State Time(s)\nscd   3   256   1   r-----   0.1\n"));
}
