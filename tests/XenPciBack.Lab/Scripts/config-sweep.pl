# config-sweep.pl FILE: reads and writes a device's whole config space (sysfs "config") through every access there is.
#
#   r SIZE OFFSET VALUE          a read
#   w SIZE OFFSET WRITTEN VALUE  a write and the read after it
#
# Offsets and values in hexadecimal; !ERRNO in a value's place is a failure. Each system call moves 1, 2 or 4 aligned bytes, which the kernel makes exactly one
# config access of. The order is fixed: what one write leaves behind, the next one meets under every backend alike.
use strict;
use warnings;

my $file = shift;
my $length = -s $file;
my %format = (1 => 'C', 2 => 'v', 4 => 'V');
open(my $config, '+<', $file) or die "$file: $!\n";

sub read_value {
    my ($size, $offset) = @_;
    sysseek($config, $offset, 0);
    my $count = sysread($config, my $bytes, $size);
    return '!' . ($! + 0) unless defined $count;
    return '!end' unless $count == $size;
    return sprintf('%0*x', 2 * $size, unpack($format{$size}, $bytes));
}

sub write_value {
    my ($size, $offset, $value) = @_;
    sysseek($config, $offset, 0);
    my $count = syswrite($config, pack($format{$size}, hex $value), $size);
    return defined $count && $count == $size ? read_value($size, $offset) : '!' . ($! + 0);
}

for my $size (1, 2, 4) {
    for (my $offset = 0; $offset < $length; $offset += $size) {
        printf "r %d %x %s\n", $size, $offset, read_value($size, $offset);
    }
}
for my $size (1, 2, 4) {
    for (my $offset = 0; $offset < $length; $offset += $size) {
        my $original = read_value($size, $offset);
        next if $original =~ /^!/;
        for my $value ('f' x (2 * $size), '0' x (2 * $size), $original) {
            printf "w %d %x %s %s\n", $size, $offset, $value, write_value($size, $offset, $value);
        }
    }
}
