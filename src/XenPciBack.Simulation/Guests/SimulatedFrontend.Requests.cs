namespace XenPciBack.Simulation.Guests;

// Requests to the backend: one at a time, as pcifront's lock has it.
public sealed partial class SimulatedFrontend
{
    private const uint ConfRead = 0, ConfWrite = 1;
    private const int DeviceNotFound = -1;

    private readonly SemaphoreSlim _requestLock = new(1);

    /// <summary>Requests given up because no answer came in time; Linux logs "pciback not responding!!!" for each.</summary>
    public int UnansweredRequests { get; private set; }

    /// <summary>Requests that got their answer.</summary>
    public int AnsweredRequests { get; private set; }

    public Task<FrontendAnswer> ReadConfigAsync(uint domain, uint bus, uint devFn, int offset, int size) =>
        SendAsync(new FrontendRequest(ConfRead, domain, bus, devFn, offset, size));

    public Task<FrontendAnswer> WriteConfigAsync(uint domain, uint bus, uint devFn, int offset, int size, uint value) =>
        SendAsync(new FrontendRequest(ConfWrite, domain, bus, devFn, offset, size, value));

    /// <summary>Sends any request and waits for its answer, or gives it up as Linux does.</summary>
    public async Task<FrontendAnswer> SendAsync(FrontendRequest request)
    {
        await _requestLock.WaitAsync(_stopping.Token).ConfigureAwait(false);
        try
        {
            var posted = _clock.GetTimestamp();
            _page.Post(request);
            _port.Notify();
            while (_page.IsRequestActive)
            {
                await WaitForEventAsync().ConfigureAwait(false);
                // The clock comes before the flag: an answer that arrives after the deadline is not taken any more.
                if (_clock.GetElapsedTime(posted) <= _options.RequestTimeout) continue;
                _page.Withdraw();
                UnansweredRequests++;
                return new FrontendAnswer(DeviceNotFound, 0, [], TimedOut: true);
            }
            AnsweredRequests++;
            return _page.TakeAnswer(request.MsixEntries.Length);
        }
        finally
        {
            _requestLock.Release();
        }
    }

    private async Task WaitForEventAsync()
    {
        if (_event.Reader.TryRead(out _)) return;
        using var poll = new CancellationTokenSource(_options.PollTimeout, _clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(poll.Token, _stopping.Token);
        try
        {
            await _event.Reader.ReadAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!_stopping.IsCancellationRequested)
        {
        }
    }
}
