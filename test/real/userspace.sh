# What a Debian userspace is asked in a guest and, the same programs, on this computer: test/real/userspace.test.ts holds
# the two answers side by side. Most of it is arithmetic: floating point in every language that formats it another way,
# hashes, compressors, and what takes time to get wrong. No device and no /proc is used, so that a bare chroot will do.
export LC_ALL=C PATH=/usr/bin:/bin TZ=UTC HOME=/root
cd /tmp; rm -rf t; mkdir t; cd t
run() { echo "== $*"; "$@" 2>&1; local s=$?; [ $s = 0 ] || echo "status $s"; }
sh_() { echo "== $1"; bash -c "$1" 2>&1; local s=$?; [ $s = 0 ] || echo "status $s"; }
run uname -m
run bash --version
run echo hello world
run printf '%.30f %.20e %a %g\n' 0.1 1.7976931348623157e308 3.14159 1e-320
run printf '%d %x %o %s %q\n' -42 255 8 text "a b'c"
run seq -f %.15g 0 0.1 1
run seq 1 0.333333333333333 3
run factor 1234567890123456789 18446744073709551615 600851475143
sh_ 'seq 1 2000 | sort -R --random-source=/usr/bin/env | sort -n | md5sum'
sh_ 'seq 1 3000 | shuf --random-source=/usr/bin/openssl | sha256sum'
sh_ 'printf "3.14\n1e5\n-2\n0x10\n1e-5\nnan\ninf\n" | sort -g'
sh_ 'seq 1 50000 | sha1sum; seq 1 50000 | sha224sum; seq 1 50000 | sha384sum; seq 1 50000 | sha512sum; seq 1 50000 | b2sum; seq 1 50000 | cksum'
sh_ 'seq 1 20000 > a; gzip -9n < a > a.gz; gzip -t a.gz; gunzip < a.gz | cmp - a; md5sum a.gz; ls -l --time-style=+ a a.gz'
sh_ 'openssl prime 1000000007; openssl prime 1000000008'
run numfmt --to=iec 123456789 98765432100
run date -u -d @1234567890 +%c
run date -u -d '2024-02-29 +1 year' +%F
sh_ 'awk "BEGIN { for (i = 0; i < 20; i++) printf \"%d %.17g %.17g %.17g %.17g %.17g\n\", i, sin(i), cos(i), exp(i/3), log(i+1), sqrt(i); print atan2(1,2), 2^0.5, int(-3.7), 10 % 3.3 }"'
sh_ 'gawk "BEGIN { x = 0; for (i = 1; i <= 20000; i++) x += 1 / (i * i); printf \"%.17g %.17g %a\n\", x, sqrt(6 * x), x; printf \"%.6e %i %c\n\", 12345.678, 3.9, 65 }"'
sh_ 'gawk -M "BEGIN { PREC = 200; printf \"%.50f\n\", atan2(1, 1) * 4 }"'
sh_ 'echo "scale=60; 4*a(1); e(1); s(1); l(2); sqrt(2)" | bc -l'
sh_ 'echo "2^1000 % 1000007; 99^99" | bc'
sh_ 'sed -n "s/\([0-9]\)\([0-9]\)/\2\1/gp" a | head -5; sed "s/1/one/g;y/abc/xyz/" a | md5sum'
sh_ 'grep -c 7 a; grep -E "^(12|34)+$" a | head -3; grep -P "(?<=1)2(?=3)" a | wc -l'
sh_ 'tr 0-9 a-j < a | fold -w 7 | md5sum; base64 a | md5sum; od -A x -t x1z a | tail -3; od -t fD -N 64 a'
sh_ 'seq 5 > p; seq 6 10 > q; paste p q; seq 1 2 9 > p; seq 1 3 10 > q; join p q; seq 1 9 > p; seq 5 12 | sort > q; comm -12 p q | tr "\n" " "'
sh_ 'seq 1 10 > p; seq 2 11 > q; diff p q; wc a; split -l 5000 a part; ls part* ; cat part* | cmp - a; nl a | tail -1; tac a | head -2'
sh_ 'find /usr/bin -name "b*" | sort | head -5; stat -c "%a %s %F" /usr/bin/env; expr 6 \* 7; test 3 -gt 2 && echo yes'
sh_ 'perl -e "printf qq(%.17g\n), sqrt(2)**3; print join(q(,), map { sprintf q(%.15g), sin(\$_)*exp(-\$_/10) } 1..20), qq(\n); print pack(q(d>), 1/3) eq pack(q(d>), 1/3), unpack(q(H*), pack(q(d>f>), 0.1, 0.1)), qq(\n)"'
sh_ 'perl -e "my %h; \$h{\$_ % 97} += \$_ ** 1.5 for 1..20000; printf qq(%d:%.10g ), \$_, \$h{\$_} for (sort { \$a <=> \$b } keys %h)[0..10]; print qq(\n)"'
sh_ 'perl -e "\$_ = q(the quick brown fox) x 1000; my \$n = () = /o\\w/g; print qq(\$n\n); print scalar reverse(uc substr(\$_, 0, 20)), qq(\n); print 0.1 + 0.2, q( ), 1e16 + 1, q( ), 9**20, q( ), -7 % 3, qq(\n)"'
run python3 -c 'import sys; print(sys.version, sys.maxsize, sys.float_info)'
run python3 -c 'import math; print([getattr(math, f)(x) for f in "sin cos tan asin acos atan sinh cosh tanh exp expm1 log1p erf erfc gamma lgamma sqrt cbrt".split() for x in (0.1, 0.5, 0.9)]); print(math.fsum([0.1]*10), math.hypot(3,4), math.pow(2,0.5), math.fmod(-7,3), math.ldexp(0.7,10), math.frexp(1e300), math.nextafter(1,2), math.comb(50,25), math.isqrt(10**40))'
run python3 -c 'import decimal as d; d.getcontext().prec=80; print(d.Decimal(2).sqrt(), d.Decimal(1).exp(), d.Decimal(10).ln(), d.Decimal(1)/7)'
run python3 -c 'import json; print(json.dumps({"a":[1,2.5,1e100,-0.0,1/3,5e-324,1.7976931348623157e308],"b":{"c":"\u00e9"}}), json.loads("[1e5,0.1,123456789012345678901234567890]"))'
run python3 -c 'import hashlib; [print(n, hashlib.new(n, b"abc"*1000).hexdigest()) for n in ("md5","sha1","sha256","sha512","sha3_256","blake2b")]; print(hashlib.pbkdf2_hmac("sha256", b"p", b"s", 500).hex(), hashlib.scrypt(b"p", salt=b"s", n=16, r=2, p=1).hex()[:40])'
run python3 -c 'import random; random.seed(42); print([random.random() for _ in range(5)], random.gauss(0,1), random.sample(range(1000),10), random.expovariate(2))'
run python3 -c 'import struct; print(struct.pack(">dfe", 1/3, 1/3, 1/3).hex(), struct.unpack("<f", b"\x01\x00\x00\x00"), float.fromhex("0x1.8p-1074"), (0.1).hex(), round(2.675,2), 7//-2, 1e16+1, float("nan"), -float("inf"), 0.1+0.2, 1e308*10, 5e-324/2)'
run python3 -c 'import statistics as s, fractions as f, cmath, time; print(s.stdev([1.5,2.5,4.75,9]), f.Fraction(0.1), cmath.exp(1j), cmath.sqrt(-2), time.strftime("%F %T", time.gmtime(1e9)))'
run python3 -c 'import zlib, bz2, lzma, base64; b=bytes(range(256))*200; print(zlib.crc32(b), len(zlib.compress(b,9)), len(bz2.compress(b)), len(lzma.compress(b)), lzma.decompress(lzma.compress(b))==b, base64.b85encode(b[:20]))'
run python3 -c 'import re, collections, itertools, functools; t="lorem ipsum dolor "*500; print(collections.Counter(re.findall(r"\w+", t)), functools.reduce(lambda a,b:a*b%1000003, range(1,5000)), list(itertools.permutations("abc"))[-1], pow(3,10**5,10**9+7), 3**500 % 10**30)'
run python3 -c 'n=60; a=[[1.0/(i+j+1) for j in range(n)] for i in range(n)]; import math
for k in range(n):
  p=max(range(k,n), key=lambda r: abs(a[r][k])); a[k],a[p]=a[p],a[k]
  for r in range(k+1,n):
    f=a[r][k]/a[k][k]
    for c in range(k,n): a[r][c]-=f*a[k][c]
print([a[i][i] for i in range(0,n,7)])'
run python3 -c 'import sqlite3; c=sqlite3.connect(":memory:"); c.execute("create table t(a,b)"); c.executemany("insert into t values(?,?)", [(i, i*0.37) for i in range(500)]); print(c.execute("select sum(b), avg(a*b), max(b), total(b/3), count(*), round(sum(b*b),3) from t where a%7=3").fetchall())'
sh_ 'echo "{\"a\":[1.5,2,3e10,0.1]}" | jq -c ".a|map(.*3)|., add, (.[0]|sqrt), (.[1]|log), @csv"'
sh_ 'sqlite3 :memory: "with recursive n(i) as (select 1 union all select i+1 from n where i<1000) select sum(1.0/i), group_concat(i % 7) from n where i < 40"'
sh_ 'for i in $(seq 1 300); do x=$((i*i%97+x)); done; echo $x; a=(3 1 2); IFS=,; echo "${a[*]}"; [[ abc =~ b(.) ]] && echo ${BASH_REMATCH[1]}; echo $((2**62)) $((-7/2)) ${#PATH} ${PATH/usr/x}'
sh_ 'sleep 0.01; (exit 3); echo $?; kill -l 9; trap "echo trapped" USR1; kill -USR1 $$; wait; timeout 0.1 sleep 9; echo $?'
