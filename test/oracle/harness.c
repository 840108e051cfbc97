/* harness: executes single instructions on the host CPU and writes down what they did.
 *
 * Input (argv[1]) and output (argv[2]) are streams of the structures below, made and read by native.ts. The program
 * knows no instruction and no address: pages, LDT and cases all come from the input. Every page is a memfd mapped twice,
 * once as the case sees it and once writable for us. A case starts by returning from a signal with an edited frame
 * (this reaches compatibility mode and 16-bit segments too) and ends with the exception that brings us back; the code
 * page is full of HLT, so there always is one.
 * May not: use thread-local storage while a case may have changed FS; hence the raw system calls.
 * Follows: Linux arch/x86/kernel/signal_64.c, ldt.c; tools/testing/selftests/x86 for the way in. */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

struct header { u32 pages, segments, cases; };
struct page { u32 at, length, protection; };                 /* followed by its bytes */
struct segment { u32 index, base, limit, flags; };           /* flags: the bit field of struct user_desc */
struct start { u64 gpr[16], rip, rflags, fs_base, gs_base; u16 cs, ss, ds, es, fs, gs, patches, pad; };
struct patch { u32 at, length; };                            /* followed by its bytes */
struct end { u64 gpr[16], rip, rflags, cr2, fs_base, gs_base; u32 vector, error; u16 cs, ss, ds, es, fs, gs, changes, pad; };

#define MAX_PAGES 16
static struct page pages[MAX_PAGES];
static u8 *alias[MAX_PAGES], *base[MAX_PAGES], *before[MAX_PAGES];
static u32 page_count;
static u8 *in, *out;
static size_t out_length, out_room;
static u32 cases_left, running, cases_done;
static const char *out_name;
static u64 own_fs;

static long raw(long number, long a, long b, long c) {
	long result;
	register long r10 __asm__("r10") = 0;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

static void die(const char *why) {
	raw(SYS_write, 2, (long)why, (long)strlen(why));
	raw(SYS_write, 2, (long)"\n", 1);
	raw(SYS_exit_group, 1, 0, 0);
}

static void *take(size_t length) { void *at = in; in += length; return at; }

static void *room(size_t length) {
	if (out_length + length > out_room) die("harness: output buffer full");
	void *at = out + out_length;
	out_length += length;
	return at;
}

/* The order of an x86 encoding, in terms of the kernel's frame. */
static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                               REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static void record(ucontext_t *uc, u16 ds, u16 es, u16 fs, u16 gs) {
	greg_t *g = uc->uc_mcontext.gregs;
	struct end *e = room(sizeof *e);
	memset(e, 0, sizeof *e);
	for (int i = 0; i < 16; i++) e->gpr[i] = g[order[i]];
	e->rip = g[REG_RIP];
	e->rflags = g[REG_EFL];
	e->cr2 = g[REG_CR2];
	e->vector = g[REG_TRAPNO];
	e->error = g[REG_ERR];
	e->cs = g[REG_CSGSFS] & 0xffff;
	e->ss = (u64)g[REG_CSGSFS] >> 48;
	e->ds = ds; e->es = es; e->fs = fs; e->gs = gs;
	raw(SYS_arch_prctl, ARCH_GET_FS, (long)&e->fs_base, 0);
	raw(SYS_arch_prctl, ARCH_GET_GS, (long)&e->gs_base, 0);
	for (u32 p = 0; p < page_count; p++) {
		if (!memcmp(alias[p], before[p], pages[p].length)) continue;
		for (u32 i = 0; i < pages[p].length; i++) {
			if (alias[p][i] == before[p][i]) continue;
			u32 n = i + 1, last = i;                           /* runs closer than 4 bytes are one */
			for (; n < pages[p].length && n - last <= 4; n++) if (alias[p][n] != before[p][n]) last = n;
			struct patch *c = room(sizeof *c + last + 1 - i);
			c->at = pages[p].at + i;
			c->length = last + 1 - i;
			memcpy(c + 1, alias[p] + i, c->length);
			e->changes++;
			i = last;
		}
	}
}

static void prepare(ucontext_t *uc) {
	greg_t *g = uc->uc_mcontext.gregs;
	struct start *s = take(sizeof *s);
	for (u32 p = 0; p < page_count; p++) memcpy(alias[p], base[p], pages[p].length);
	for (u32 i = 0; i < s->patches; i++) {
		struct patch *c = take(sizeof *c);
		u8 *bytes = take(c->length);
		for (u32 n = 0; n < c->length; n++)
			for (u32 p = 0; p < page_count; p++)
				if (c->at + n >= pages[p].at && c->at + n < pages[p].at + pages[p].length)
					alias[p][c->at + n - pages[p].at] = bytes[n];
	}
	for (u32 p = 0; p < page_count; p++) memcpy(before[p], alias[p], pages[p].length);
	for (int i = 0; i < 16; i++) g[order[i]] = s->gpr[i];
	g[REG_RIP] = s->rip;
	g[REG_EFL] = s->rflags;
	g[REG_CSGSFS] = (u64)s->cs | (u64)s->ss << 48;
	uc->uc_flags |= 6;                                       /* UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS: our SS, as it is */
	__asm__ volatile("mov %0, %%ds\n\tmov %1, %%es" :: "r"((u32)s->ds), "r"((u32)s->es));
	if (s->fs) __asm__ volatile("mov %0, %%fs" :: "r"((u32)s->fs));
	else raw(SYS_arch_prctl, ARCH_SET_FS, (long)s->fs_base, 0);
	if (s->gs) __asm__ volatile("mov %0, %%gs" :: "r"((u32)s->gs));
	else raw(SYS_arch_prctl, ARCH_SET_GS, (long)s->gs_base, 0);
	/* A null selector other than 0 keeps what was loaded as base, so it comes last. */
}

static void finish(void) {
	raw(SYS_arch_prctl, ARCH_SET_FS, (long)own_fs, 0);
	FILE *f = fopen(out_name, "wb");
	if (!f || fwrite(out, 1, out_length, f) != out_length || fclose(f)) die("harness: cannot write the output");
	_exit(0);
}

static void back(int signal, siginfo_t *info, void *context) {
	/* What a case left in RFLAGS is still there: AC would hurt us, NT and ID would flow into the next case. */
	__asm__ volatile("pushfq\n\tandl %0, (%%rsp)\n\tpopfq" :: "i"(~0x244000) : "cc", "memory");
	u16 ds, es, fs, gs;
	__asm__ volatile("mov %%ds, %0\n\tmov %%es, %1\n\tmov %%fs, %2\n\tmov %%gs, %3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
	(void)info;
	if (signal == SIGALRM) {
		char text[] = "harness: this case does not end: 0000000";
		for (u32 n = cases_done, i = sizeof text - 2; n; n /= 10) text[i--] = '0' + n % 10;
		die(text);
	}
	if (running) { record(context, ds, es, fs, gs); cases_done++; }
	running = 1;
	if (!cases_left--) finish();
	prepare(context);
}

int main(int argc, char **argv) {
	if (argc != 3) die("usage: harness INPUT OUTPUT");
	int file = open(argv[1], O_RDONLY);
	struct stat st;
	if (file < 0 || fstat(file, &st)) die("harness: cannot read the input");
	in = mmap(0, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, file, 0);
	out_name = argv[2];
	struct header *h = take(sizeof *h);
	page_count = h->pages;
	cases_left = h->cases;
	out_room = 64 * 1024 * 1024 + (size_t)h->cases * 1024;
	out = mmap(0, out_room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in == MAP_FAILED || out == MAP_FAILED || page_count > MAX_PAGES) die("harness: no memory");
	for (u32 p = 0; p < page_count; p++) {
		pages[p] = *(struct page *)take(sizeof(struct page));
		u32 n = pages[p].length;
		int fd = memfd_create("sandbox", 0);
		if (fd < 0 || ftruncate(fd, n)) die("harness: no memfd");
		alias[p] = mmap(0, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
		base[p] = take(n);
		before[p] = malloc(n);
		memcpy(alias[p], base[p], n);
		if (mmap((void *)(u64)pages[p].at, n, pages[p].protection, MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, fd, 0) !=
		    (void *)(u64)pages[p].at) die("harness: cannot map a page where the sandbox has it");
	}
	for (u32 i = 0; i < h->segments; i++) {
		struct segment *s = take(sizeof *s);
		struct user_desc d = { .entry_number = s->index, .base_addr = s->base, .limit = s->limit };
		memcpy((u8 *)&d + 12, &s->flags, 4);
		if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d)) die("harness: modify_ldt refused a segment");
	}
	raw(SYS_arch_prctl, ARCH_GET_FS, (long)&own_fs, 0);
	stack_t alternate = { .ss_sp = malloc(1 << 18), .ss_size = 1 << 18 };
	if (sigaltstack(&alternate, 0)) die("harness: no signal stack");
	struct sigaction act = { .sa_sigaction = back, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static const int signals[] = { SIGSEGV, SIGILL, SIGTRAP, SIGFPE, SIGBUS, SIGALRM };
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &act, 0);
	alarm(20);
	__asm__ volatile("ud2");
	return 1;
}
