using System.Runtime.Serialization;
using Akka.Actor;
using Akka.Configuration;
using Akka.Remote.Serialization;
using Akka.Serialization;

namespace XenPciBack.Fleet.Wire;

/// <summary>Stands where Akka has a serializer that makes objects of types the sender names, or that the fleet has no use for: nothing comes in and nothing goes out.</summary>
/// <param name="identifier">Of the one that it replaces.</param>
public abstract class ClosedSerializer(ExtendedActorSystem system, int identifier) : Serializer(system)
{
    public override int Identifier { get; } = identifier;

    public override bool IncludeManifest => false;

    public override byte[] ToBinary(object obj) => throw new SerializationException($"{obj.GetType()} does not go to other nodes");

    public override object FromBinary(byte[] bytes, Type type) => throw new SerializationException("such messages are not taken from other nodes");
}

/// <summary>Json.NET, for any type. Akka hands it the settings of the one that it replaces.</summary>
public sealed class ClosedJson : ClosedSerializer
{
    public ClosedJson(ExtendedActorSystem system) : base(system, 1) { }

    public ClosedJson(ExtendedActorSystem system, Config settings) : base(system, 1) => _ = settings;
}

/// <summary>Any message class of Google.Protobuf.</summary>
public sealed class ClosedProtobuf(ExtendedActorSystem system) : ClosedSerializer(system, 2);

/// <summary>Actors to be made here for another node.</summary>
public sealed class ClosedDeployment(ExtendedActorSystem system) : ClosedSerializer(system, 3);

/// <summary>Exceptions, routers and configurations, among others.</summary>
public sealed class ClosedMiscellany(ExtendedActorSystem system) : ClosedSerializer(system, 16);

/// <summary>Death watch and failures of actors that another node has made.</summary>
public sealed class ClosedSystemMessages(ExtendedActorSystem system) : ClosedSerializer(system, 22);

/// <summary>Akka.Delivery.</summary>
public sealed class ClosedDelivery(ExtendedActorSystem system) : ClosedSerializer(system, 36);

/// <summary>A message with the path of its receiver. One within another within another, as deep as a message is long, would take the stack and with it the process.</summary>
public sealed class FlatContainers(ExtendedActorSystem system) : MessageContainerSerializer(system)
{
    [ThreadStatic] private static bool _isInside;

    public override int Identifier => 6;

    public override object FromBinary(byte[] bytes, Type type)
    {
        if (_isInside) throw new SerializationException("a message to a path has another one inside");
        _isInside = true;
        try
        {
            return base.FromBinary(bytes, type);
        }
        finally
        {
            _isInside = false;
        }
    }
}
