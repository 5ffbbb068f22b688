using System.Globalization;
using XenPciBack.Fleet;
using XenPciBack.Web.Preview;

// The dashboard over a fleet that is made up and changes: dotnet run --project tests/XenPciBack.Web.Preview [PORT]
var fleet = new MadeUpFleet(seed: 1);
var board = new FleetBoard();
board.Update(_ => MadeUpFleet.Begin(DateTimeOffset.UtcNow));
await using var server = await PreviewServer.StartAsync(
    board, MadeUpFleet.ConfigAsync, port: args is [var port] ? int.Parse(port, CultureInfo.InvariantCulture) : 0);
Console.WriteLine(server.Address);

using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
while (await timer.WaitForNextTickAsync()) board.Update(state => fleet.Next(state, DateTimeOffset.UtcNow));
