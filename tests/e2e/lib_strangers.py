"""A program for tests/e2e/strangers.py: what an agent may meet on a host that it does not know. One strange
behaviour per argument, each of which burns CPU so that it is sampled.
"""

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

__attribute__((noinline)) void strangers_burn(void)
{
	for (int i = 0; i < 100000; i++)
		sink += (uint64_t)i;
}

__attribute__((noinline)) static void burn_for(double seconds)
{
	struct timespec begin, now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		strangers_burn();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 <
	         seconds);
}

/* A name with a line end, an escape, a quote and a byte that is no UTF-8. */
static void stranger_name(void)
{
	prctl(PR_SET_NAME, "a\n\033[31m\"\xff;=");
	for (;;)
		strangers_burn();
}

/* Another name every few microseconds. */
static void stranger_renames(void)
{
	char name[16];

	for (unsigned n = 0;; n++) {
		snprintf(name, sizeof(name), "name%u", n);
		prctl(PR_SET_NAME, name);
	}
}

static void *thread_rename(void *number)
{
	char name[16];

	for (unsigned n = 0;; n++) {
		snprintf(name, sizeof(name), "t%u.%u", (unsigned)(uintptr_t)number, n);
		pthread_setname_np(pthread_self(), name);
		burn_for(0.001);
	}
	return NULL;
}

static void stranger_threads(void)
{
	pthread_t thread;

	for (uintptr_t n = 0; n < 100; n++)
		pthread_create(&thread, NULL, thread_rename, (void *)n);
	pause();
}

/* Twenty thousand files with code, mapped and unmapped all the time. */
static void stranger_maps(const char *folder)
{
	char path[4096];

	for (unsigned round = 0;; round++) {
		for (unsigned n = 0; n < 20000; n++) {
			snprintf(path, sizeof(path), "%s/m%u", folder, n);
			int fd = open(path, O_RDWR | O_CREAT, 0755);
			if (fd < 0 || ftruncate(fd, 8192) < 0)
				_exit(3);
			void *at = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
			close(fd);
			if (round % 2 && at != MAP_FAILED)
				munmap(at, 8192);
		}
	}
}

/*
 * A stack that claims to have been called from a hundred sparse files of ten gigabytes, none of
 * which has a build-id. Each is an ELF header and holes.
 */
struct link {
	struct link *next;
	void *return_address;
};

static void stranger_stack(const char *folder)
{
	static struct link links[128];
	char path[4096];
	unsigned count = 0;

	for (; count < 100; count++) {
		snprintf(path, sizeof(path), "%s/sparse%u", folder, count);
		int fd = open(path, O_RDWR | O_CREAT, 0755);
		uint8_t header[64] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };
		header[8] = (uint8_t)count;
		header[54] = 56;                /* e_phentsize */
		header[56] = header[57] = 0xff; /* e_phnum */
		header[33] = 0x10;              /* e_phoff: 4096 */
		if (fd < 0 || write(fd, header, sizeof(header)) < 0 ||
		        ftruncate(fd, (off_t)10 << 30) < 0)
			_exit(3);
		uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
		close(fd);
		if (at == MAP_FAILED)
			break;
		links[count].return_address = at + 100;
		links[count].next = &links[count + 1];
	}
	links[count].return_address = (void *)stranger_stack;
	/* The stack pointer is to lie below the frames: they live in the data of the program. */
	__asm__ volatile("mov %0, %%rbp\n\t"
	                 "lea -4096(%%rbp), %%rsp\n\t"
	                 "1: add $1, %%rax\n\t"
	                 "jmp 1b"
	                 :
	                 : "r"(&links[0])
	                 : "memory");
}

/* Notes without end: each of 65,535 headers leads to 64 KiB of them, none of which is a build-id.
 */
static void stranger_notes(const char *folder)
{
	char path[4096];
	uint8_t header[64] = { 0x7f, 'E', 'L', 'F', 2, 1, 1 };
	static uint32_t notes[65536 / 4];

	snprintf(path, sizeof(path), "%s/notes", folder);
	int fd = open(path, O_RDWR | O_CREAT, 0755);
	header[33] = 0x10;
	header[54] = 56;
	header[56] = header[57] = 0xff;
	for (unsigned n = 0; n < sizeof(notes) / 12; n++)
		notes[3 * n + 2] = 1;
	if (pwrite(fd, header, sizeof(header), 0) < 0 ||
	        pwrite(fd, notes, sizeof(notes), 8 << 20) < 0)
		_exit(3);
	for (unsigned n = 0; n < 65535; n++) {
		uint64_t segment[7] = { 4, 8 << 20, 0, 0, sizeof(notes), 0, 4 };
		if (pwrite(fd, segment, sizeof(segment), 4096 + 56 * (off_t)n) < 0)
			_exit(3);
	}
	uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	struct link link = { NULL, at + 100 };
	static struct link kept;
	kept = link;
	__asm__ volatile("mov %0, %%rbp\n\t"
	                 "lea -4096(%%rbp), %%rsp\n\t"
	                 "1: add $1, %%rax\n\t"
	                 "jmp 1b"
	                 :
	                 : "r"(&kept)
	                 : "memory");
}

/* Code in memory that no file holds. */
static void stranger_jit(void)
{
	uint8_t *code = mmap(
	        NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	/* 1: add $1,%rax ; jmp 1b */
	memcpy(code, "\x48\x83\xc0\x01\xeb\xfa", 6);
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	((void (*)(void))code)();
}

/* The time, which is code of the kernel's vdso. */
static void stranger_vdso(void)
{
	struct timespec now;

	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		sink += (uint64_t)now.tv_nsec;
	}
}

/* The same program, executed from memory. */
static void stranger_memfd(char **argv)
{
	char bytes[65536];
	int from = open("/proc/self/exe", O_RDONLY);
	int to = memfd_create("in memory", 0);
	ssize_t count;

	while ((count = read(from, bytes, sizeof(bytes))) > 0) {
		if (write(to, bytes, (size_t)count) != count)
			_exit(3);
	}
	argv[1] = "burn";
	fexecve(to, argv, (char *[]){ NULL });
	_exit(3);
}

/* Children that are never waited for, and children that never exec. */
static void stranger_zombies(void)
{
	for (;;) {
		for (int n = 0; n < 500; n++) {
			pid_t pid = fork();
			if (pid == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				if (n % 3 == 0)
					setsid();
				if (n % 3 == 1)
					setpgid(0, 0);
				burn_for(0.002);
				_exit(0);
			}
		}
		burn_for(0.2);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static void stranger_forks(void)
{
	for (int n = 0; n < 8; n++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (n % 2)
				setsid();
			burn_for(3600);
		}
	}
	pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "burn";
	const char *folder = argc > 2 ? argv[2] : "/tmp";

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(what, "name") == 0)
		stranger_name();
	if (strcmp(what, "renames") == 0)
		stranger_renames();
	if (strcmp(what, "threads") == 0)
		stranger_threads();
	if (strcmp(what, "maps") == 0)
		stranger_maps(folder);
	if (strcmp(what, "stack") == 0)
		stranger_stack(folder);
	if (strcmp(what, "notes") == 0)
		stranger_notes(folder);
	if (strcmp(what, "jit") == 0)
		stranger_jit();
	if (strcmp(what, "vdso") == 0)
		stranger_vdso();
	if (strcmp(what, "memfd") == 0)
		stranger_memfd(argv);
	if (strcmp(what, "zombies") == 0)
		stranger_zombies();
	if (strcmp(what, "forks") == 0)
		stranger_forks();
	for (;;)
		burn_for(1);
}
"""
