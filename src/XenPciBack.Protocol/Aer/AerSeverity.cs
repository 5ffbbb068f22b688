namespace XenPciBack.Protocol.Aer;

/// <summary>How bad an error is, as the device's severity register decides it (PCI Express Base Specification 6.2.2).</summary>
public enum AerSeverity
{
    /// <summary>Hardware has put it right; nothing was lost.</summary>
    Correctable,

    /// <summary>A transaction is lost, the link still works.</summary>
    NonFatal,

    /// <summary>The link is not reliable any more; the host resets everything below the port.</summary>
    Fatal,
}

public static class AerSeverities
{
    /// <summary>As logs and error nodes have it.</summary>
    public static string ToText(this AerSeverity severity) => severity switch
    {
        AerSeverity.Correctable => "correctable",
        AerSeverity.NonFatal => "non-fatal",
        _ => "fatal",
    };
}
