using XenPciBack.Lab.Compare;

namespace XenPciBack.Lab.Tests.Compare;

public class XenStoreTreeTests
{
    [Fact]
    public void The_guests_domain_id_becomes_D_and_nothing_else_changes()
    {
        var tree = XenStoreTree.Parse("""
            /local/domain/0/backend/pci/1/0/frontend = "/local/domain/1/device/pci/0"   (n0,r1)
            /local/domain/0/backend/pci/1/0/frontend-id = "1"   (n0,r1)
            /local/domain/0/backend/pci/1/0/online = "1"   (n0,r1)
            /local/domain/1/device/pci/0/pci-op-ref = "1"   (n1,r0)
            """, domainId: 1);

        Assert.Equal("\"/local/domain/D/device/pci/0\" (n0,rD)", tree["/local/domain/0/backend/pci/D/0/frontend"]);
        Assert.Equal("\"D\" (n0,rD)", tree["/local/domain/0/backend/pci/D/0/frontend-id"]);
        Assert.Equal("\"1\" (n0,rD)", tree["/local/domain/0/backend/pci/D/0/online"]);
        Assert.Equal("\"1\" (nD,r0)", tree["/local/domain/D/device/pci/0/pci-op-ref"]);
    }

    [Fact]
    public void An_unreadable_line_is_shown() =>
        Assert.Contains("no node", Assert.Throws<LabException>(() => XenStoreTree.Parse("no node", 1)).Message);
}
