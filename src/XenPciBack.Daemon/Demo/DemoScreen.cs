using Spectre.Console;
using Spectre.Console.Rendering;
using XenPciBack.Daemon.Logging;

namespace XenPciBack.Daemon.Demo;

/// <summary>Shows the board while something happens: a table that updates in a terminal, a line for each change elsewhere.</summary>
internal sealed class DemoScreen(DemoBoard board, RecentLog recentLog)
{
    private static readonly TimeSpan Refresh = TimeSpan.FromMilliseconds(100);

    public Task ShowWhileAsync(Func<Task> action) => recentLog.IsShownHere ? LiveAsync(action) : LinesAsync(action);

    private Task LiveAsync(Func<Task> action) => AnsiConsole.Live(Render()).StartAsync(async live =>
    {
        var running = action();
        while (!running.IsCompleted)
        {
            live.UpdateTarget(Render());
            await Task.WhenAny(running, Task.Delay(Refresh));
        }
        live.UpdateTarget(Render());
        await running;
    });

    private async Task LinesAsync(Func<Task> action)
    {
        var shown = new Dictionary<string, GuestRow>();
        var running = action();
        do
        {
            await Task.WhenAny(running, Task.Delay(Refresh));
            foreach (var row in board.Rows)
            {
                // Requests alone are no news: there are too many of them.
                var news = row with { Requests = 0 };
                if (shown.GetValueOrDefault(row.Name) == news) continue;
                shown[row.Name] = news;
                Console.WriteLine($"guest {row.Id} {row.Name,-8} backend {row.Backend,-12} frontend {row.Frontend,-12} devices given {row.Given}, found {row.Found}, {row.Requests} requests answered");
            }
        }
        while (!running.IsCompleted);
        await running;
    }

    private Rows Render()
    {
        var table = new Table().RoundedBorder().AddColumns("guest", "domid", "backend", "frontend", "devices given", "devices found", "requests answered");
        foreach (var row in board.Rows)
            table.AddRow(row.Name, row.Id.ToString(), State(row.Backend.ToString()), State(row.Frontend.ToString()), $"{row.Given}", $"{row.Found}", $"{row.Requests}");
        return new Rows([table, .. recentLog.Lines.Select(l => (IRenderable)new Text(l, new Style(Color.Grey)))]);
    }

    private static string State(string state) => state == "Connected" ? "[green]Connected[/]" : $"[yellow]{state}[/]";
}
