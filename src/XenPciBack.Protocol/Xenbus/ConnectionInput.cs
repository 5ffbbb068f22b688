using XenPciBack.Protocol.Slots;

namespace XenPciBack.Protocol.Xenbus;

/// <summary>What can happen to a <see cref="GuestConnection"/>.</summary>
public abstract record ConnectionInput
{
    private ConnectionInput() { }

    /// <summary>Both directories were read. null: the directory does not exist.</summary>
    public sealed record Observed(BackendNodes? Backend, FrontendNodes? Frontend) : ConnectionInput
    {
        /// <summary>Besides there being no backend directory, xenstored has never heard of the guest's domain, or not any more.</summary>
        public bool IsDomainUnknown { get; init; }
    }

    /// <summary>Outcome of <see cref="ConnectionEffect.OpenDevice"/>.</summary>
    public sealed record DeviceOpened(SlotCandidate Device) : ConnectionInput;

    /// <summary>Outcome of <see cref="ConnectionEffect.OpenDevice"/>.</summary>
    public sealed record DeviceRefused(HostBdf Device, string Reason) : ConnectionInput;

    /// <summary>Outcome of <see cref="ConnectionEffect.Connect"/>: the page is mapped and the port bound.</summary>
    public sealed record Connected : ConnectionInput;

    /// <summary>Outcome of <see cref="ConnectionEffect.Connect"/>.</summary>
    /// <param name="Errno">Positive errno for the error node.</param>
    public sealed record ConnectRefused(int Errno, string Reason) : ConnectionInput;

    /// <summary>The frontend did not answer a change of devices in time (<see cref="GuestConnection.AwaitsFrontend"/>).</summary>
    public sealed record FrontendSilent : ConnectionInput;

    /// <summary>The frontend has been Closed for a while (<see cref="GuestConnection.AwaitsReopening"/>).</summary>
    public sealed record Reopen : ConnectionInput;

    /// <summary>The guest runs no more; its toolstack is about to take it down.</summary>
    public sealed record GuestEnded : ConnectionInput;
}
