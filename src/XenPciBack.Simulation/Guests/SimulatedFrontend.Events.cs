using System.Threading.Channels;

namespace XenPciBack.Simulation.Guests;

// One port carries the answers to requests and the backend's questions about errors.
public sealed partial class SimulatedFrontend
{
    private readonly Channel<bool> _event = Channel.CreateBounded<bool>(new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropWrite });
    private Task _events = Task.CompletedTask;
    private int _handling;

    /// <summary>The questions that came, in order, answered or not.</summary>
    public IReadOnlyList<ErrorQuestion> Questions
    {
        get
        {
            lock (_questions) return [.. _questions];
        }
    }

    private readonly List<ErrorQuestion> _questions = [];

    private async Task TakeEventsAsync()
    {
        try
        {
            while (true)
            {
                await _port.WaitAsync(_stopping.Token).ConfigureAwait(false);
                _event.Writer.TryWrite(true);
                if (!_options.IsSilent && _page.IsQuestionActive && Interlocked.Exchange(ref _handling, 1) == 0) _ = Task.Run(HandleQuestionsAsync);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    // The driver's handlers may use the device: their requests go through the same page meanwhile.
    private async Task HandleQuestionsAsync()
    {
        do
        {
            while (_page.IsQuestionActive)
            {
                var question = _page.ReadQuestion();
                lock (_questions) _questions.Add(question);
                if (await _options.Driver(question).ConfigureAwait(false) is not { } verdict || _stopping.IsCancellationRequested) return;
                _page.AnswerQuestion(verdict);
                _port.Notify();
            }
            Volatile.Write(ref _handling, 0);
        }
        while (_page.IsQuestionActive && Interlocked.Exchange(ref _handling, 1) == 0);
    }
}
