# raw-frontend.pl: a PCI frontend in user space, for requests that no kernel's frontend would send. It connects like Linux's
# xen-pcifront (which must not be loaded), carries out the lines of standard input, and closes the connection.
#
#   op CMD DOMAIN BUS DEVFN OFFSET SIZE VALUE [ENTRY...]    one request; numbers in decimal, ENTRY are MSI-X table entries
#      answer: ERR VALUE [VECTOR...], and "changed" behind it where the backend has touched a field that is not its own
#   bind                  binds the PIRQ in the last answer's VALUE to an event channel; answer: PORT
#   poke ADDRESS VALUE    writes 4 bytes, at most 65536, to memory of the device; answer: ok
#
# One line of answer to each line. xen/interface/io/pciif.h has the page, uapi/xen/{gntalloc,evtchn,privcmd}.h the ioctls.
use strict;
use warnings;

my $PAGE = 4096;
my ($SYS_READ, $SYS_MMAP, $SYS_IOCTL) = (0, 9, 16);
my $FIONREAD = 0x541b;
my ($ALLOC_GREF, $BIND_UNBOUND_PORT, $NOTIFY, $HYPERCALL) = (0x184705, 0x44502, 0x44504, 0x305000);
my ($XS_READ, $XS_START, $XS_END, $XS_WRITE) = (2, 6, 7, 11);
my ($WRITABLE, $EVENT_CHANNEL_OP, $BIND_PIRQ) = (1, 32, 2);

# ---- memory: perl reads any address with unpack P, and writes one by a read(2) into it ------------------------------------

pipe(my $out, my $in) or die "pipe: $!\n";

sub map_memory {
    my ($file, $length, $offset) = @_;
    my $address = syscall($SYS_MMAP, 0, $length, 3, 1, fileno($file), $offset);
    die "mmap: $!\n" if $address == -1;
    return $address;
}

sub peek {
    my ($address, $length) = @_;
    return unpack("P$length", pack('Q', $address));
}

sub poke {
    my ($address, $bytes) = @_;
    syswrite($in, $bytes);
    syscall($SYS_READ, fileno($out), $address, length $bytes) == length $bytes or die "memory at $address: $!\n";
}

# ---- xenstore -------------------------------------------------------------------------------------------------------------

open(my $store, '+<:raw', '/dev/xen/xenbus') or die "/dev/xen/xenbus: $!\n";

sub read_exactly {
    my ($file, $length) = @_;
    my $bytes = '';
    while (length $bytes < $length) { sysread($file, $bytes, $length - length $bytes, length $bytes) or die "xenstore: $!\n" }
    return $bytes;
}

sub ask_store {
    my ($type, $transaction, $payload) = @_;
    syswrite($store, pack('V4', $type, 0, $transaction, length $payload) . $payload);
    my ($answer, undef, undef, $length) = unpack('V4', read_exactly($store, 16));
    my $body = read_exactly($store, $length);
    return $answer == $type ? $body : undef;
}

sub read_node { return ask_store($XS_READ, 0, "$_[0]\0") }

sub write_node {
    my ($path, $value, $transaction) = @_;
    defined ask_store($XS_WRITE, $transaction // 0, "$path\0$value") or die "cannot write $path\n";
}

sub pause { select(undef, undef, undef, 0.02) }

sub await_state {
    my ($path, @wanted) = @_;
    for (1 .. 6000) {
        my $state = read_node($path) // '';
        return if grep { $state eq $_ } @wanted;
        pause();
    }
    die "$path did not become @wanted: " . (read_node($path) // 'gone') . "\n";
}

# ---- the connection -------------------------------------------------------------------------------------------------------

my $home = 'device/pci/0';
my $backend = read_node("$home/backend") or die "this guest has no PCI devices\n";

open(my $grants, '+<', '/dev/xen/gntalloc') or die "/dev/xen/gntalloc: $!\n";
my $allocation = pack('v v V Q V V', 0, $WRITABLE, 1, 0, 0, 0);
defined ioctl($grants, $ALLOC_GREF, $allocation) or die "gntalloc: $!\n";
my (undef, undef, undef, $index, $grant) = unpack('v v V Q V', $allocation);
my $page = map_memory($grants, $PAGE, $index);
poke($page, "\0" x $PAGE);

open(my $events, '+<:raw', '/dev/xen/evtchn') or die "/dev/xen/evtchn: $!\n";
my $port = ioctl($events, $BIND_UNBOUND_PORT, my $remote = pack('V', 0)) or die "evtchn: $!\n";
my $notify = pack('V', $port);

my $transaction = ask_store($XS_START, 0, "\0");
$transaction =~ s/\0//;
write_node("$home/pci-op-ref", $grant, $transaction);
write_node("$home/event-channel", $port, $transaction);
write_node("$home/magic", '7', $transaction);
defined ask_store($XS_END, $transaction, "T\0") or die "the transaction failed\n";
write_node("$home/state", '3');
await_state("$backend/state", 4);
write_node("$home/state", '4');

# ---- the lines ------------------------------------------------------------------------------------------------------------

$| = 1;
my $last_value = 0;
while (my $line = <STDIN>) {
    my ($word, @numbers) = split ' ', $line;
    print $word eq 'op' ? perform(@numbers) : $word eq 'bind' ? bind_pirq($last_value) : poke_device(@numbers), "\n";
}

write_node("$home/state", '5');
await_state("$backend/state", 5, 6);
write_node("$home/state", '6');
await_state("$backend/state", 6);

sub perform {
    my ($cmd, $domain, $bus, $devfn, $offset, $size, $value, @entries) = @_;
    my $op = pack('V l< V V V l< l< V V', $cmd, 0, $domain, $bus, $devfn, $offset, $size, $value, 0);
    $op .= pack('v v', 0xffff, $_) for @entries;
    poke($page + 4, $op . "\0" x (548 - length $op));
    poke($page, pack('C', ord(peek($page, 1)) | 1));
    defined ioctl($events, $NOTIFY, $notify) or die "notify: $!\n";
    while (ord(peek($page, 1)) & 1) { await_event() }

    my $answer = peek($page + 4, 548);
    my ($err, $result) = (unpack('l<', substr($answer, 4, 4)), unpack('V', substr($answer, 28, 4)));
    my @vectors = map { unpack('v', substr($answer, 36 + 4 * $_, 2)) } 0 .. $#entries;
    $last_value = $result;
    return join(' ', $err, $result, @vectors, without_results($op, @entries) eq without_results(substr($answer, 0, length $op), @entries) ? () : 'changed');
}

# An op but for what the backend may write: err, value and the vectors.
sub without_results {
    my ($op, @entries) = @_;
    substr($op, $_, 4) = "\0" x 4 for 4, 28;
    substr($op, 36 + 4 * $_, 2) = "\0" x 2 for 0 .. $#entries;
    return $op;
}

# The event may be that of an earlier answer, so the caller looks at the page again.
sub await_event {
    my $readable = '';
    vec($readable, fileno($events), 1) = 1;
    select($readable, undef, undef, 60) or die "no answer within 60 s\n";
    sysread($events, my $fired, 4);
    syswrite($events, $fired);
}

sub bind_pirq {
    my ($pirq) = @_;
    open(my $privcmd, '+<', '/dev/xen/privcmd') or return "/dev/xen/privcmd: $!";
    my $bind = pack('V V V', $pirq, 0, 0);
    my $call = pack('Q6', $EVENT_CHANNEL_OP, $BIND_PIRQ, unpack('Q', pack('P', $bind)), 0, 0, 0);
    defined ioctl($privcmd, $HYPERCALL, $call) or return "bind_pirq $pirq: $!";
    return unpack('x8 V', $bind);
}

sub poke_device {
    my ($address, $value) = @_;
    open(my $memory, '+<', '/dev/mem') or return "/dev/mem: $!";
    my $start = $address - $address % $PAGE;
    # A device's register wants one store of four bytes, where a read(2) would make four: FIONREAD stores how much is in a pipe.
    pipe(my $full, my $filler) or die "pipe: $!\n";
    syswrite($filler, "\0" x $value);
    syscall($SYS_IOCTL, fileno($full), $FIONREAD, map_memory($memory, $PAGE, $start) + $address - $start) == 0 or return "poke $address: $!";
    return 'ok';
}
