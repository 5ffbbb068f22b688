namespace XenPciBack.Protocol.Records;

/// <summary>Bytes that outlive this process, however it ends, as soon as they are stored. Zero at first.</summary>
public interface IRecordMemory : IDisposable
{
    /// <summary><see cref="DeviceRecord.Size"/> bytes, 8-byte aligned. Disposing makes them unreachable, and keeps them.</summary>
    Span<byte> Bytes { get; }
}
