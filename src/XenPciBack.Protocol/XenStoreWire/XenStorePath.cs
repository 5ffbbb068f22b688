using System.Buffers;
using System.Diagnostics.CodeAnalysis;

namespace XenPciBack.Protocol.XenStoreWire;

/// <summary>
/// The address of a node: absolute ("/local/domain/0/backend"), relative to the home of the domain that sends it
/// ("device/pci/0"), or a special watch name ("@releaseDomain"). Names are joined by single slashes and made of
/// letters, digits, '-', '_' and '@'; no trailing slash. Source: docs/misc/xenstore.txt.
/// </summary>
/// <remarks>The default value is <see cref="Root"/>.</remarks>
public readonly record struct XenStorePath
{
    // Before the paths below, which are checked against it.
    private static readonly SearchValues<char> Alphabet =
        SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_@");

    /// <summary>"/".</summary>
    public static readonly XenStorePath Root;

    /// <summary>Watched, it fires when xenstored is told of a new domain. The event does not say which.</summary>
    public static readonly XenStorePath IntroduceDomain = new("@introduceDomain");

    /// <summary>Watched, it fires when any domain shuts down, crashes, is destroyed or released. The event does not say which.</summary>
    public static readonly XenStorePath ReleaseDomain = new("@releaseDomain");

    // Null stands for "/", so that the default value is a valid path and equal to Root.
    private readonly string? _text;

    /// <exception cref="ArgumentException"><paramref name="text"/> is not a path.</exception>
    public XenStorePath(string text)
    {
        if (Flaw(text) is { } flaw)
            throw new ArgumentException($"\"{text}\" is not a xenstore path: {flaw}.", nameof(text));
        _text = text == "/" ? null : text;
    }

    private XenStorePath(string? validText, bool _) => _text = validText == "/" ? null : validText;

    /// <summary>As it goes over the wire, without the NUL.</summary>
    public string Text => _text ?? "/";

    /// <summary>Starts with '/'.</summary>
    public bool IsAbsolute => Text[0] == '/';

    /// <summary>Starts with '@': names no node, only an event to watch.</summary>
    public bool IsSpecial => Text[0] == '@';

    /// <summary>The last name; "" for the root.</summary>
    public string Name => Text[(Text.LastIndexOf('/') + 1)..];

    /// <summary>The node one up. The root, and a single relative name, have none: they are their own parent.</summary>
    public XenStorePath Parent => Text.LastIndexOf('/') switch
    {
        > 0 and var slash => new(Text[..slash], true),
        0 => Root,
        _ => this,
    };

    /// <summary>"/local/domain/N": where relative paths of domain <paramref name="domid"/> start.</summary>
    public static XenStorePath DomainHome(int domid) => new XenStorePath("/local/domain") / domid;

    /// <summary>Reads a path without throwing, as from a guest.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out XenStorePath path)
    {
        path = default;
        if (text is null || Flaw(text) is not null)
            return false;
        path = new(text, true);
        return true;
    }

    /// <summary>The node <paramref name="below"/> (one name or several joined by slashes) under <paramref name="path"/>.</summary>
    /// <exception cref="ArgumentException"><paramref name="below"/> is not a relative path, or the whole is too long.</exception>
    public static XenStorePath operator /(XenStorePath path, string below) =>
        below is "" or ['/', ..] ? throw new ArgumentException($"\"{below}\" cannot stand below {path}.", nameof(below))
        : new(path._text + "/" + below);

    /// <summary>The node whose name is a decimal number, such as a domid or a device index.</summary>
    public static XenStorePath operator /(XenStorePath path, int number) => path / number.ToString();

    /// <inheritdoc cref="op_Division(XenStorePath, string)"/>
    public static XenStorePath Divide(XenStorePath path, string below) => path / below;

    /// <summary>True for the node itself and for everything below it.</summary>
    public bool IsAtOrBelow(XenStorePath ancestor) =>
        ancestor._text is null ? IsAbsolute
        : Text.StartsWith(ancestor._text, StringComparison.Ordinal)
            && (Text.Length == ancestor._text.Length || Text[ancestor._text.Length] == '/');

    /// <summary>Same as <see cref="Text"/>.</summary>
    public override string ToString() => Text;

    private static string? Flaw(string text) =>
        text.Length == 0 ? "it is empty"
        : text.Length > (text[0] == '/' ? XenStoreLimits.AbsolutePath : XenStoreLimits.RelativePath) ? "it is too long"
        : text.AsSpan().IndexOfAnyExcept(Alphabet) is >= 0 and var at ? $"character {at} is none of A-Z a-z 0-9 - / _ @"
        : text.Length > 1 && text[^1] == '/' ? "it ends in a slash"
        : text.Contains("//", StringComparison.Ordinal) ? "it holds an empty name"
        : null;
}
