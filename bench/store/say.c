/* Lines to stdout, and /proc/self for the rest. */

#include "bench/store/say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/auto.h"

void say(const char *name, double value)
{
	printf("%s\t%.9g\n", name, value);
	(void)fflush(stdout);
}

void say_of(const char *what, const char *name, double value)
{
	char text[128];
	snprintf(text, sizeof(text), "%s_%s", what, name);
	say(text, value);
}

void say_phase(const char *what)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	printf("phase\t%s\t%lld%09ld\n", what, (long long)now.tv_sec, now.tv_nsec);
	(void)fflush(stdout);
}

void *say_alloc(size_t count, size_t each)
{
	void *memory = calloc(count ? count : 1, each);
	SAY_OR_DIE(memory ? 0 : -ENOMEM);
	return memory;
}

void *say_grow(void *array, uint32_t *capacity, uint64_t count, size_t each)
{
	if (count <= *capacity)
		return array;
	uint64_t wanted = *capacity ? *capacity : 1024;
	while (wanted < count)
		wanted *= 2;
	SAY_OR_DIE(wanted <= UINT32_MAX ? 0 : -ENOMEM);
	char *grown = realloc(array, wanted * each);
	SAY_OR_DIE(grown ? 0 : -ENOMEM);
	memset(grown + *capacity * each, 0, (wanted - *capacity) * each);
	*capacity = (uint32_t)wanted;
	return grown;
}

static double say_seconds(clockid_t clock)
{
	struct timespec now;
	(void)clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double say_wall_s(void)
{
	return say_seconds(CLOCK_MONOTONIC);
}

double say_process_cpu_s(void)
{
	return say_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

double say_thread_cpu_s(void)
{
	return say_seconds(CLOCK_THREAD_CPUTIME_ID);
}

/* The number behind a name in a file of /proc. */
static uint64_t say_proc(const char *path, const char *name)
{
	char line[256];
	uint64_t value = 0;
	FILE *file = fopen(path, "re");
	SAY_OR_DIE(file ? 0 : -errno);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name), NULL, 10);
	(void)fclose(file);
	return value;
}

struct say_written say_written(void)
{
	return (struct say_written){
		.disk = say_proc("/proc/self/io", "write_bytes:"),
		.calls = say_proc("/proc/self/io", "wchar:"),
	};
}

uint64_t say_rss_bytes(void)
{
	return say_proc("/proc/self/status", "VmRSS:") * 1024;
}

/* Calls `each` with every file of the folder. */
static void say_files(const char *folder, void (*each)(const char *path, void *owner), void *owner)
{
	DIR *files = opendir(folder);
	SAY_OR_DIE(files ? 0 : -errno);
	for (struct dirent *file = readdir(files); file; file = readdir(files)) {
		char path[4096];
		if (file->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, file->d_name);
		each(path, owner);
	}
	(void)closedir(files);
}

static void say_evict_file(const char *path, void *owner)
{
	(void)owner;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	/* What is dirty cannot be put out. A file may be gone by now: then there is nothing to do.
	 */
	if (fd >= 0 && fdatasync(fd) == 0)
		(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

void say_evict(const char *folder)
{
	say_files(folder, say_evict_file, NULL);
}

static void say_count_file(const char *path, void *owner)
{
	struct stat status;
	uint64_t *bytes = owner;
	if (stat(path, &status) == 0 && S_ISREG(status.st_mode))
		*bytes += (uint64_t)status.st_size;
}

uint64_t say_folder_bytes(const char *folder)
{
	uint64_t bytes = 0;
	say_files(folder, say_count_file, &bytes);
	return bytes;
}
