using System.Security.Cryptography.X509Certificates;
using Akka.Actor;
using Akka.Actor.Setup;
using Akka.Configuration;
using Akka.Remote.Transport.DotNetty;
using XenPciBack.Fleet.Wire;

namespace XenPciBack.Fleet.Membership;

/// <summary>The actor system of the fleet: one of its own, so that nothing that happens to the cluster is more to the daemon than the end of this system.</summary>
internal static class FleetSystem
{
    public const string Name = "xenpciback-fleet", HostRole = "host", MonitorRole = "monitor";

    public static ActorSystem Create(FleetSettings settings, string role, FleetSetup setup)
    {
        var setups = ActorSystemSetup.Create(setup, BootstrapSetup.Create().WithConfig(Configuration(settings, role)));
        return ActorSystem.Create(Name, settings.Tls is { } tls ? setups.And(MutualTls(tls)) : setups);
    }

    public static Address AddressOf(System.Net.DnsEndPoint node, bool isSecure) => new(isSecure ? "akka.ssl.tcp" : "akka.tcp", Name, node.Host, node.Port);

    /// <exception cref="FleetException">It would speak plain text off loopback.</exception>
    public static void RequireTlsOffLoopback(FleetSettings settings)
    {
        if (settings.Tls is null && !System.Net.IPAddress.IsLoopback(settings.Listen.Address))
            throw new FleetException($"the fleet is to listen at {settings.Listen}, which other machines reach, without certificates; name them in xenpciback.fleet.tls, or listen at 127.0.0.1");
    }

    private static DotNettySslSetup MutualTls(FleetTls tls) => new(tls.Certificate, suppressValidation: false, requireMutualAuthentication: true, customValidator: (certificate, _, _, _, _) =>
    {
        if (certificate is null) return false;
        using var chain = new X509Chain();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.AddRange(tls.Authorities);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        return chain.Build(certificate);
    });

    private static Config Configuration(FleetSettings settings, string role) => ConfigurationFactory.ParseString($$"""
        akka {
          loggers = ["{{NameOf<FleetLogger>()}}"]
          loglevel = INFO
          stdout-loglevel = OFF
          log-dead-letters = off
          log-dead-letters-during-shutdown = off
          log-serializer-override-on-start = off
          scheduler.tick-duration = {{Of(settings.Beat / 10)}}
          coordinated-shutdown {
            exit-clr = off
            run-by-clr-shutdown-hook = off
          }

          actor {
            provider = cluster
            default-dispatcher { {{OwnThreads}} }
            internal-dispatcher { {{OwnThreads}} }

            serializers {
              fleet = "{{NameOf<FleetSerializer>()}}"
              json = "{{NameOf<ClosedJson>()}}"
              proto = "{{NameOf<ClosedProtobuf>()}}"
              daemon-create = "{{NameOf<ClosedDeployment>()}}"
              akka-misc = "{{NameOf<ClosedMiscellany>()}}"
              akka-system-msg = "{{NameOf<ClosedSystemMessages>()}}"
              reliable-delivery = "{{NameOf<ClosedDelivery>()}}"
              akka-containers = "{{NameOf<FlatContainers>()}}"
            }
            serialization-bindings {
              "{{NameOf<Report>()}}" = fleet
              "{{NameOf<ReportSeen>()}}" = fleet
              "{{NameOf<ConfigViewWanted>()}}" = fleet
              "{{NameOf<ConfigViewFound>()}}" = fleet
            }
            serialization-identifiers {
              "{{NameOf<FlatContainers>()}}" = 6
            }
          }

          remote {
            default-remote-dispatcher { {{OwnThreads}} }
            backoff-remote-dispatcher { {{OwnThreads}} }
            untrusted-mode = on
            trusted-selection-paths = ["/user/{{Monitor.Name}}", "/system/cluster/core/daemon", "/system/cluster/heartbeatReceiver"]
            log-remote-lifecycle-events = off
            dot-netty.tcp {
              hostname = "{{settings.Listen.Address}}"
              port = {{settings.Listen.Port}}
              enable-ssl = {{(settings.Tls is null ? "off" : "on")}}
              maximum-frame-size = {{FleetSerializer.Largest + 64 * 1024}}b
              server-socket-worker-pool { pool-size-min = 1, pool-size-max = 1 }
              client-socket-worker-pool { pool-size-min = 1, pool-size-max = 1 }
            }
          }

          cluster {
            roles = ["{{role}}"]
            scheduler.tick-duration = {{Of(settings.Beat / 10)}}
            periodic-tasks-initial-delay = {{Of(settings.Beat)}}
            gossip-interval = {{Of(settings.Beat)}}
            leader-actions-interval = {{Of(settings.Beat)}}
            unreachable-nodes-reaper-interval = {{Of(settings.Beat)}}
            failure-detector.acceptable-heartbeat-pause = {{Of(settings.LostAfter)}}

            # Where the fleet is cut in two, the part that has the oldest monitor goes on: the others have nobody to report to, and join again when
            # they can. So there are never two fleets that do not find together.
            split-brain-resolver {
              active-strategy = keep-oldest
              stable-after = {{Of(settings.GiveUpAfter)}}
              down-all-when-unstable = off
              keep-oldest {
                role = "{{MonitorRole}}"
                down-if-alone = off
              }
            }
          }
        }
        """);

    private static string Of(TimeSpan time) => $"{time.TotalMilliseconds}ms";

    private static string OwnThreads => $"""type = Dispatcher, executor = "{NameOf<FleetExecutorConfigurator>()}", throughput = 10""";

    private static string NameOf<T>() => $"{typeof(T).FullName}, {typeof(T).Assembly.GetName().Name}";
}
