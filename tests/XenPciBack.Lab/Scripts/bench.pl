# Times what a guest does with one of its PCI devices, on the guest's own clock. For perl-base, which has no modules.
#
#   bench.pl reads FILE COUNT    four-byte reads of a config space, from its start again where it ends: each is one
#                                request to the backend. Then the same loop on /dev/zero, which is the loop's own time.
#   bench.pl rescan DEVICE       the device is removed from the guest's bus; timed is the scan that finds it again
#   bench.pl run COMMAND...      a command
#
# Prints a line for each time: what, and nanoseconds.
use strict;
use warnings;

my ($pread64, $clock_gettime, $monotonic) = (17, 228, 1); # of Linux on x86-64

sub now {
    my $time = pack('qq', 0, 0);
    syscall($clock_gettime, $monotonic, $time) == 0 or die "clock_gettime: $!";
    my ($seconds, $nanoseconds) = unpack('qq', $time);
    return $seconds * 1_000_000_000 + $nanoseconds;
}

sub timed {
    my ($what, $work) = @_;
    my $began = now();
    $work->();
    printf("%s %d\n", $what, now() - $began);
}

sub reads {
    my ($path, $size, $count) = @_;
    open(my $file, '<', $path) or die "$path: $!";
    my ($descriptor, $value) = (fileno($file), "\0" x 4);
    for (my $i = 0; $i < $count; $i++) {
        syscall($pread64, $descriptor, $value, 4, 4 * $i % $size) == 4 or die "$path, read $i: $!";
    }
}

sub put {
    my ($path, $text) = @_;
    open(my $file, '>', $path) or die "$path: $!";
    defined(syswrite($file, $text)) or die "$path: $!";
}

my $what = shift(@ARGV);
if ($what eq 'reads') {
    my ($path, $count) = @ARGV;
    my $size = -s $path;
    timed('reads', sub { reads($path, $size, $count) });
    timed('empty', sub { reads('/dev/zero', $size, $count) });
} elsif ($what eq 'rescan') {
    my $device = "/sys/bus/pci/devices/$ARGV[0]";
    put("$device/remove", '1');
    die "$device: still there after its removal" if -e $device;
    timed('rescan', sub { put('/sys/bus/pci/rescan', '1') });
    die "$device: not found by the rescan" unless -e $device;
} elsif ($what eq 'run') {
    timed('run', sub { system(@ARGV) == 0 or die "@ARGV: $?" });
} else {
    die "bench.pl $what: unknown";
}
