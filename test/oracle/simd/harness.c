/* harness: executes single instructions on MMX and XMM registers on the host CPU and writes down what they did.
 *
 * Input (argv[1]) is a count and that many `struct state`, output (argv[2]) as many again. A case starts by returning
 * from a signal with an edited frame, whose floating-point part holds the registers and MXCSR, and ends with the
 * exception that brings us back: the instruction's own, or that of the HLT behind it.
 * Follows: Linux arch/x86/include/uapi/asm/sigcontext.h (struct _fpstate, the XSAVE header behind it). */
#define _GNU_SOURCE
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

#define CODE 0x10000000ul
#define DATA 0x20000000ul
#define WINDOW 64

/* The registers as FXSAVE has them; `vector` is an answer only. */
struct state {
	u64 gpr[16], rip, rflags;
	u32 vector, mxcsr;
	u16 fcw, fsw, ftw, length;
	u8 st[8][16], xmm[16][16], code[16], data[WINDOW];
};

static struct state *cases, *answers;
static u32 count, at;
static int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                         REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
static const char *out_name;

static void finish(void) {
	int fd = open(out_name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t left = count * sizeof *answers;
	u8 *from = (u8 *)answers;
	while (left) {
		ssize_t n = write(fd, from, left);
		if (n <= 0) syscall(SYS_exit_group, 1);
		from += n;
		left -= n;
	}
	syscall(SYS_exit_group, 0);
}

static void prepare(ucontext_t *uc) {
	if (at == count) finish();
	struct state *s = &cases[at];
	u8 *fx = (u8 *)uc->uc_mcontext.fpregs;
	memset((u8 *)CODE, 0xf4, 64);
	memcpy((u8 *)CODE, s->code, s->length);
	memcpy((u8 *)DATA, s->data, WINDOW);
	for (int i = 0; i < 16; i++) uc->uc_mcontext.gregs[order[i]] = s->gpr[i];
	uc->uc_mcontext.gregs[REG_RIP] = CODE;
	uc->uc_mcontext.gregs[REG_EFL] = s->rflags;
	memset(fx, 0, 24);
	memcpy(fx, &s->fcw, 2);
	memcpy(fx + 2, &s->fsw, 2);
	memcpy(fx + 4, &s->ftw, 2);
	memcpy(fx + 24, &s->mxcsr, 4);
	memcpy(fx + 32, s->st, sizeof s->st);
	memcpy(fx + 160, s->xmm, sizeof s->xmm);
	u32 magic;
	memcpy(&magic, fx + 464, 4);
	if (magic == 0x46505853) fx[512] |= 3;                    /* XSTATE_BV: x87 and SSE are in use */
}

static void handler(int number, siginfo_t *info, void *context) {
	/* A case may have had alignment checked; we do not want that. */
	__asm__ volatile("pushfq\n\tandl $~0x40000, (%%rsp)\n\tpopfq" ::: "memory", "cc");
	ucontext_t *uc = context;
	(void)info;
	if (number != SIGUSR1) {
		struct state *a = &answers[at++];
		u8 *fx = (u8 *)uc->uc_mcontext.fpregs;
		for (int i = 0; i < 16; i++) a->gpr[i] = uc->uc_mcontext.gregs[order[i]];
		a->rip = uc->uc_mcontext.gregs[REG_RIP];
		a->rflags = uc->uc_mcontext.gregs[REG_EFL];
		a->vector = uc->uc_mcontext.gregs[REG_TRAPNO];
		memcpy(&a->fcw, fx, 2);
		memcpy(&a->fsw, fx + 2, 2);
		memcpy(&a->ftw, fx + 4, 2);
		memcpy(&a->mxcsr, fx + 24, 4);
		memcpy(a->st, fx + 32, sizeof a->st);
		memcpy(a->xmm, fx + 160, sizeof a->xmm);
		memcpy(a->data, (u8 *)DATA, WINDOW);
	}
	prepare(uc);
}

int main(int argc, char **argv) {
	struct stat st;
	if (argc != 3) return 2;
	out_name = argv[2];
	int fd = open(argv[1], O_RDONLY);
	if (fd < 0 || fstat(fd, &st)) return 1;
	u8 *in = mmap(0, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	memcpy(&count, in, 4);
	cases = malloc(count * sizeof *cases);
	memcpy(cases, in + 4, count * sizeof *cases);
	answers = calloc(count, sizeof *answers);
	mmap((void *)CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	mmap((void *)DATA, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	stack_t stack = { .ss_sp = malloc(1 << 20), .ss_size = 1 << 20 };
	sigaltstack(&stack, 0);
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	int signals[] = { SIGUSR1, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP };
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, 0);
	raise(SIGUSR1);
	return 3;
}
