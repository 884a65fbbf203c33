/*
 * A hash table of lives chained by pid, newest first: whoever looks for a pid finds its last
 * life, and older ones wait behind it for the end of the interval.
 *
 * Kernel behaviour that this file stands on:
 *
 * exec tells COMM (exec), then MMAP2 of the program, of its interpreter and of the vdso, then
 * the exec tracepoint (ORIGIN). The first file that is mapped is therefore the program, for
 * scripts as for binaries the same that /proc/PID/exe names.
 *
 * EXIT of the first thread comes near the end of its life, but a few samples of the exit
 * itself may follow; and other threads may live on, which is looked up before the life is
 * forgotten.
 *
 * fork copies everything; exec replaces everything but pid, start, group and cgroup.
 */

#include "agent/process_table.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "agent/cgroup_path.h"
#include "agent/cpus.h"
#include "agent/proc_text.h"
#include "core/clock.h"
#include "core/log.h"

#define PROCESSES_MAX             65536
#define PROCESS_BUCKETS           16384 /* a power of two */
#define PROCESS_PATH_BYTES        4096
#define PROCESS_MAPS_BYTES_MAX    (16u << 20)
#define PROCESS_ENVIRON_BYTES_MAX (64u << 10)
#define PROCESS_ENVIRON_SUM_MAX   (16u << 20)
#define PROCESS_CGROUPS_MAX       8192              /* a power of two */
#define PROCESS_EXITING_NS        (100 * NS_PER_MS) /* how long an exit itself may be sampled */
#define PROCESS_KEPT_NS           NS_PER_S
#define TICK_NS                   (NS_PER_S / 100)
#define VSYSCALL_START            UINT64_C(0xffffffffff600000)
#define VSYSCALL_END              UINT64_C(0xffffffffff601000)
#define KERNEL_THREAD_FLAG        0x00200000 /* PF_KTHREAD in /proc/PID/stat */

struct cgroup_name {
	uint64_t id;
	char *path; /* NULL: empty place */
};

/* Who ended last on a CPU. */
struct last_exit {
	int32_t pid;
	uint64_t time_ns;
};

struct process_table {
	struct process_table_options options;
	struct process *buckets[PROCESS_BUCKETS];
	struct cgroup_name cgroups[PROCESS_CGROUPS_MAX]; /* by id: a later one takes the place */
	struct last_exit exits[CPUS_MAX];
	uint32_t count;
	uint64_t interval;
	uint64_t environ_bytes;
	uint64_t boot_offset_ns; /* CLOCK_BOOTTIME - CLOCK_MONOTONIC */
	char *text;              /* of the file of /proc that was read last */
	size_t text_capacity;
	char path[PROCESS_PATH_BYTES];
};

struct process_table *process_table_new(struct process_table_options options)
{
	AUTO(process_table) table = calloc(1, sizeof(*table));
	struct timespec boot;
	struct timespec monotonic;

	assert(options.files);
	if (!table)
		return NULL;
	table->options = options;
	if (!table->options.processes_max)
		table->options.processes_max = PROCESSES_MAX;
	if (!table->options.proc_path)
		table->options.proc_path = "/proc";
	if (!table->options.environ_bytes_max)
		table->options.environ_bytes_max = PROCESS_ENVIRON_SUM_MAX;
	table->interval = 1;

	(void)clock_gettime(CLOCK_MONOTONIC, &monotonic);
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	table->boot_offset_ns = (uint64_t)(boot.tv_sec - monotonic.tv_sec) * NS_PER_S +
	                        (uint64_t)boot.tv_nsec - (uint64_t)monotonic.tv_nsec;
	return TAKE(table);
}

static void process_free(struct process_table *table, struct process *process)
{
	table->environ_bytes -= process->environ_bytes;
	table->count--;
	mappings_free(process->mappings);
	free(process->exe);
	free(process->cgroup);
	free(process->environ);
	free(process);
}

void process_table_free(struct process_table *table)
{
	if (!table)
		return;
	for (uint32_t bucket = 0; bucket < PROCESS_BUCKETS; bucket++) {
		while (table->buckets[bucket]) {
			struct process *process = table->buckets[bucket];
			table->buckets[bucket] = process->next;
			process_free(table, process);
		}
	}
	for (uint32_t at = 0; at < PROCESS_CGROUPS_MAX; at++)
		free(table->cgroups[at].path);
	free(table->text);
	free(table);
}

static struct process **process_table_bucket(struct process_table *table, int32_t pid)
{
	return &table->buckets[(uint32_t)pid & (PROCESS_BUCKETS - 1)];
}

static struct process *process_table_last(struct process_table *table, int32_t pid)
{
	struct process *process = *process_table_bucket(table, pid);

	while (process && process->pid != pid)
		process = process->next;
	return process;
}

/* A new life in front of the older ones of its pid. */
static struct process *process_table_add(
        struct process_table *table, int32_t pid, uint64_t begin_ns)
{
	if (table->count >= table->options.processes_max)
		return NULL;
	struct process *process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->mappings = mappings_new();
	if (!process->mappings) {
		free(process);
		return NULL;
	}
	struct process **bucket = process_table_bucket(table, pid);
	process->pid = pid;
	process->begin_ns = begin_ns;
	process->next = *bucket;
	*bucket = process;
	table->count++;
	return process;
}

/* Reads a small file of a process, zero-terminated, into table->text. -errno, -EFBIG. */
static int process_table_read(
        struct process_table *table, int32_t pid, const char *name, size_t max, size_t *ret_bytes)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof(path), "%s/%d/%s", table->options.proc_path, pid, name);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (;;) {
		if (count + 1 >= table->text_capacity) {
			size_t capacity = table->text_capacity ? 2 * table->text_capacity : 16384;
			if (count >= max)
				return -EFBIG;
			char *text = realloc(table->text, capacity);
			if (!text)
				return -ENOMEM;
			table->text = text;
			table->text_capacity = capacity;
		}
		ssize_t got = read(fd, table->text + count, table->text_capacity - 1 - count);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		count += (size_t)got;
	}
	table->text[count] = 0;
	*ret_bytes = count;
	return 0;
}

static int process_table_stat(struct process_table *table, int32_t pid, struct proc_stat *ret_stat)
{
	size_t count;
	int result = process_table_read(table, pid, "stat", 4096, &count);

	return result < 0 ? result : proc_text_stat(table->text, ret_stat);
}

/* "kworker/0:1-events": what it works on at the moment is no name. */
static void process_name_worker(struct process *process)
{
	if (strncmp(process->comm, "kworker/", 8) == 0)
		process->comm[strcspn(process->comm, "-+")] = 0;
}

static char *process_table_link(struct process_table *table, int32_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%d/%s", table->options.proc_path, pid, name);
	ssize_t count = readlink(path, table->path, sizeof(table->path) - 1);
	if (count <= 0)
		return NULL;
	table->path[count] = 0;
	return strdup(table->path);
}

static void process_cut_deleted(char *path)
{
	static const char mark[] = " (deleted)";
	size_t count = strlen(path);

	if (count > sizeof(mark) - 1 && strcmp(path + count - (sizeof(mark) - 1), mark) == 0)
		path[count - (sizeof(mark) - 1)] = 0;
}

/* The start of a process group's leader, when somebody still knows it. */
static uint64_t process_table_group_start(
        struct process_table *table, const struct process *process)
{
	struct proc_stat stat;

	if (process->group == process->pid)
		return process->start_ticks;
	const struct process *leader = process_table_last(table, process->group);
	if (leader && leader->start_ticks)
		return leader->start_ticks;
	return process_table_stat(table, process->group, &stat) == 0 ? stat.start_ticks : 0;
}

static void process_take_stat(struct process *process, const struct proc_stat *stat)
{
	process->parent = stat->parent;
	process->group = stat->group;
	process->start_ticks = stat->start_ticks;
	process->is_kernel = stat->flags & KERNEL_THREAD_FLAG;
	process->is_running = stat->state == 'R';
	process->origin_known = true;
}

/* A process that nobody told us of. `time_ns` is a moment at which it was alive. */
static struct process *process_table_learn(
        struct process_table *table, int32_t pid, uint64_t start_ns, uint64_t time_ns)
{
	struct proc_stat stat;
	struct process *process = process_table_add(table, pid, time_ns);

	if (!process)
		return NULL;
	if (pid == 0) {
		/* Of another pid namespace: perf tells all of them as 0, and their names too. */
		process->mappings_known = true;
		snprintf(process->comm, sizeof(process->comm), "[hidden]");
		return process;
	}
	if (process_table_stat(table, pid, &stat) < 0 ||
	        (start_ns != 0 && stat.start_ticks != start_ns / TICK_NS)) {
		/* Gone already: the samples count, under a name that says so. */
		process->start_ticks = start_ns / TICK_NS;
		process->mappings_known = true;
		snprintf(process->comm, sizeof(process->comm), "[gone]");
		return process;
	}
	process_take_stat(process, &stat);
	memcpy(process->comm, stat.comm, sizeof(process->comm));
	if (process->is_kernel) {
		process->mappings_known = true;
		process_name_worker(process);
	} else {
		process->exe = process_table_link(table, pid, "exe");
		if (process->exe)
			process_cut_deleted(process->exe);
	}
	uint64_t started_ns = stat.start_ticks * TICK_NS;
	if (started_ns > table->boot_offset_ns && started_ns - table->boot_offset_ns < time_ns)
		process->begin_ns = started_ns - table->boot_offset_ns;
	return process;
}

static void process_table_map(struct process_table *table, struct process *process,
        struct symbol_file_sighting *sighting, struct mapping mapping)
{
	if (mappings_path_is_file(sighting->path, sighting->build_id != NULL)) {
		sighting->pid = process->pid;
		sighting->parent_pid = process->parent;
		mapping.file = symbol_files_see(table->options.files, sighting);
		if (!mapping.file)
			return; /* Full: its addresses are unknown ones. */
	}
	/* Full or out of memory: likewise. */
	(void)mappings_add(&process->mappings, mapping);
}

/* Reads all mappings of a process that lives; leaves those known when it is gone. */
static void process_table_read_maps(struct process_table *table, struct process *process)
{
	size_t count;

	if (process->is_kernel ||
	        process_table_read(table, process->pid, "maps", PROCESS_MAPS_BYTES_MAX, &count) <
	                0 ||
	        count == 0)
		return;
	struct mappings *fresh = mappings_new();
	if (!fresh)
		return;
	mappings_free(process->mappings);
	process->mappings = fresh;
	process->mappings_known = true;

	char *text = table->text;
	struct proc_map map;
	while (proc_text_next_map(&text, &map)) {
		struct symbol_file_sighting sighting = {
			.path = map.path,
			.inode = map.inode,
			.device = makedev(map.device_major, map.device_minor),
			.start = map.start,
			.end = map.end,
		};
		struct mapping mapping = {
			.start = map.start,
			.end = map.end,
			.offset = map.offset,
		};
		if (strcmp(map.path, "[vsyscall]") != 0)
			process_table_map(table, process, &sighting, mapping);
	}
}

static void process_table_know_maps(struct process_table *table, struct process *process)
{
	if (process->mappings_known)
		return;
	process->mappings_known = true; /* Asked once, whatever comes of it. */
	process_table_read_maps(table, process);
}

int process_table_scan(struct process_table *table)
{
	DIR *folder = opendir(table->options.proc_path);
	uint64_t now_ns = clock_monotonic_ns(clock_real());

	if (!folder)
		return -errno;
	for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (end == entry->d_name || *end || pid <= 0 || pid > INT32_MAX)
			continue;
		if (process_table_last(table, (int32_t)pid))
			continue;
		struct process *process = process_table_learn(table, (int32_t)pid, 0, now_ns);
		/* Who runs now will be sampled soon, and may be gone before its samples are read.
		 */
		if (process && process->is_running)
			process_table_know_maps(table, process);
	}
	(void)closedir(folder);
	return 0;
}

static char *process_copy_text(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* What a child has from its parent, and a new life from the one before. */
static void process_inherit(struct process *process, const struct process *from)
{
	process->group = from->group;
	process->group_start_ticks = from->group_start_ticks;
	process->cgroup_id = from->cgroup_id;
	process->has_cgroup = from->has_cgroup;
	process->cgroup = process_copy_text(from->cgroup);
}

static void process_inherit_code(struct process *process, const struct process *from)
{
	memcpy(process->comm, from->comm, sizeof(process->comm));
	process->exe = process_copy_text(from->exe);
	process->exe_next = from->exe_next;
	process->is_kernel = from->is_kernel;
	process->mappings_known = from->mappings_known;
	mappings_free(process->mappings);
	process->mappings = mappings_use(from->mappings);
}

/* The next life of a process; the last one ends. NULL: the table is full, and the last one lives
 * on. */
static struct process *process_table_next_life(
        struct process_table *table, struct process *last, uint64_t time_ns)
{
	struct process *process = process_table_add(table, last->pid, time_ns);

	if (!process)
		return NULL;
	process->parent = last->parent;
	process->start_ticks = last->start_ticks;
	process->origin_known = last->origin_known;
	process_inherit(process, last);
	last->end_ns = time_ns;
	return process;
}

static void process_table_fork(struct process_table *table, const struct observation *observation)
{
	struct process *last = process_table_last(table, observation->pid);
	struct process *parent = process_table_last(table, observation->fork_parent);

	if (last && last->end_ns == 0)
		last->end_ns =
		        observation->time_ns; /* Its exit was missed; the pid is used again. */
	if (!parent)
		parent = process_table_learn(
		        table, observation->fork_parent, 0, observation->time_ns);
	struct process *process = process_table_add(table, observation->pid, observation->time_ns);
	if (!process)
		return;
	process->parent = observation->fork_parent;
	if (!parent)
		return;
	process_table_know_maps(table, parent);
	process_inherit(process, parent);
	process_inherit_code(process, parent);
}

static void process_table_exec(struct process_table *table, const struct observation *observation)
{
	struct process *last = process_table_last(table, observation->pid);
	struct process *process;

	if (!last)
		last = process_table_learn(table, observation->pid, 0, observation->time_ns);
	if (!last)
		return;
	process = process_table_next_life(table, last, observation->time_ns);
	if (!process)
		return;
	memcpy(process->comm, observation->comm, sizeof(process->comm));
	process->mappings_known = true;
	process->exe_next = true;
	process->origin_known =
	        false; /* Shells put a child into a group of its own before it execs. */
}

static void process_table_comm(struct process_table *table, const struct observation *observation)
{
	struct process *process = process_table_last(table, observation->pid);

	if (!process || strncmp(process->comm, observation->comm, sizeof(process->comm)) == 0)
		return;
	if (process->sampled) {
		struct process *next = process_table_next_life(
		        table, process, observation->time_ns);
		if (!next)
			return;
		process_inherit_code(next, process);
		process = next;
	}
	memcpy(process->comm, observation->comm, sizeof(process->comm));
	if (process->is_kernel)
		process_name_worker(process);
}

static void process_table_mapped(struct process_table *table, const struct observation *observation)
{
	const struct observed_map *map = &observation->map;
	struct process *process = process_table_last(table, observation->pid);

	/* One whose mappings were not read yet will show this one too. */
	if (!process || !process->mappings_known)
		return;

	bool has_build_id = map->build_id_bytes > 0;
	struct symbol_file_sighting sighting = {
		.path = map->path,
		.build_id = has_build_id ? map->build_id : NULL,
		.build_id_bytes = map->build_id_bytes,
		.inode = map->inode,
		.inode_generation = map->inode_generation,
		.device = makedev(map->device_major, map->device_minor),
		.start = map->start,
		.end = map->start + map->bytes,
	};
	struct mapping mapping = {
		.start = map->start,
		.end = map->start + map->bytes,
		.offset = map->offset,
	};
	if (process->exe_next && map->path[0] == '/' && map->path[1] != '/') {
		process->exe_next = false;
		free(process->exe);
		process->exe = strdup(map->path);
		if (process->exe)
			process_cut_deleted(process->exe);
	}
	process_table_map(table, process, &sighting, mapping);
}

static void process_table_exit(struct process_table *table, const struct observation *observation)
{
	struct process *process = process_table_last(table, observation->pid);

	if (process && process->end_ns == 0)
		process->end_ns = observation->time_ns;
	if (observation->cpu < CPUS_MAX)
		table->exits[observation->cpu] = (struct last_exit){ observation->pid,
			observation->time_ns };
}

/*
 * The last steps of an exit are made without a pid: perf then tells -1. The CPU was still busy with
 * whoever said last that it ends there.
 */
static int32_t process_table_exiting_pid(
        const struct process_table *table, const struct observation *observation)
{
	if (observation->cpu >= CPUS_MAX)
		return observation->pid;
	const struct last_exit *last = &table->exits[observation->cpu];
	bool recent = last->pid > 0 && observation->time_ns - last->time_ns < PROCESS_EXITING_NS;
	return recent ? last->pid : observation->pid;
}

static void process_table_origin(struct process_table *table, const struct observation *observation)
{
	const struct observed_origin *origin = &observation->origin;
	struct process *process = process_table_last(table, observation->pid);

	if (!process)
		process = process_table_learn(
		        table, observation->pid, origin->start_ns, observation->time_ns);
	if (!process)
		return;
	process->origin_known = true;
	process->start_ticks = origin->start_ns / TICK_NS;
	process->parent = origin->parent;
	process->group = origin->group;
	process->group_start_ticks = origin->group_start_ns / TICK_NS;
	process->cgroup_id = origin->cgroup_id;
	process->has_cgroup = true;
}

static struct cgroup_name *process_table_cgroup_place(struct process_table *table, uint64_t id)
{
	return &table->cgroups[(id ^ id >> 16) & (PROCESS_CGROUPS_MAX - 1)];
}

static void process_table_cgroup(struct process_table *table, const struct observation *observation)
{
	struct cgroup_name *place = process_table_cgroup_place(table, observation->cgroup.id);
	char *path = strdup(observation->cgroup.path);

	if (!path)
		return;
	free(place->path);
	place->path = path;
	place->id = observation->cgroup.id;
}

void process_table_observe(struct process_table *table, const struct observation *observation)
{
	bool of_process = observation->kind != OBSERVED_CGROUP;

	/* Without a pid of its own it may be anybody's, and names a process that is none. */
	if (of_process && observation->pid <= 0)
		return;
	switch (observation->kind) {
	case OBSERVED_FORK:
		process_table_fork(table, observation);
		break;
	case OBSERVED_EXEC:
		process_table_exec(table, observation);
		break;
	case OBSERVED_COMM:
		process_table_comm(table, observation);
		break;
	case OBSERVED_MAP:
		process_table_mapped(table, observation);
		break;
	case OBSERVED_EXIT:
		process_table_exit(table, observation);
		break;
	case OBSERVED_ORIGIN:
		process_table_origin(table, observation);
		break;
	case OBSERVED_CGROUP:
		process_table_cgroup(table, observation);
		break;
	case OBSERVED_SAMPLE:
	case OBSERVED_LOST:
		break;
	}
}

struct process *process_table_find(struct process_table *table, int32_t pid, uint64_t start_ns)
{
	uint64_t start_ticks = start_ns / TICK_NS;
	struct process *process = *process_table_bucket(table, pid);

	while (process && (process->pid != pid || (start_ticks != 0 && process->start_ticks != 0 &&
	                                                  process->start_ticks != start_ticks)))
		process = process->next;
	return process;
}

/* A sample after the exit: of the exit itself, or of another thread that lives on. */
static void process_outlives(struct process *process, uint64_t time_ns)
{
	if (process->end_ns == 0 || time_ns <= process->end_ns)
		return;
	process->end_ns = time_ns - process->end_ns < PROCESS_EXITING_NS ? time_ns : 0;
}

/*
 * Parent, group and start of a process of which only its fork was told: it may have become the
 * leader of a group of its own since. One that is gone is what its parent was.
 */
static void process_table_know_origin(struct process_table *table, struct process *process)
{
	struct proc_stat stat;
	int32_t group = process->group;

	if (!process->origin_known && process_table_stat(table, process->pid, &stat) == 0 &&
	        (process->start_ticks == 0 || process->start_ticks == stat.start_ticks)) {
		process_take_stat(process, &stat);
		if (process->group != group)
			process->group_start_ticks = 0;
	}
	process->origin_known = true; /* Asked once, whatever came of it. */
	if (process->start_ticks == 0)
		process->start_ticks = (process->begin_ns + table->boot_offset_ns) / TICK_NS;
	if (process->group_start_ticks == 0)
		process->group_start_ticks = process_table_group_start(table, process);
}

static void process_table_know_cgroup(struct process_table *table, struct process *process)
{
	size_t count;
	char *path = NULL;

	if (process_table_read(table, process->pid, "cgroup", 65536, &count) == 0 &&
	        cgroup_path_pick(table->text, count, table->path, sizeof(table->path)) == 0)
		path = strdup(table->path);
	if (!path)
		return; /* Gone: what it has from its parent is right. */
	free(process->cgroup);
	process->cgroup = path;
}

static void process_table_know_environ(struct process_table *table, struct process *process)
{
	size_t count;

	if (!table->options.reads_environ || process->environ_read || process->is_kernel)
		return;
	process->environ_read = true;
	if (process_table_read(table, process->pid, "environ", PROCESS_ENVIRON_BYTES_MAX, &count) <
	                0 ||
	        count == 0 || count > table->options.environ_bytes_max - table->environ_bytes)
		return;
	process->environ = malloc(count);
	if (!process->environ)
		return;
	memcpy(process->environ, table->text, count);
	process->environ_bytes = (uint32_t)count;
	table->environ_bytes += count;
}

struct process *process_table_sampled(
        struct process_table *table, const struct observation *observation)
{
	const struct observed_sample *sample = &observation->sample;
	int32_t pid = observation->pid > 0 ? observation->pid
	                                   : process_table_exiting_pid(table, observation);
	struct process *process = process_table_last(table, pid);

	if (process && sample->start_ns && process->start_ticks &&
	        process->start_ticks != sample->start_ns / TICK_NS) {
		/* The pid is used again and nobody told. */
		if (process->end_ns == 0)
			process->end_ns = observation->time_ns;
		process = NULL;
	}
	if (!process)
		process = process_table_learn(table, pid, sample->start_ns, observation->time_ns);
	if (!process)
		return NULL;

	if (sample->has_cgroup && process->has_cgroup && process->sampled &&
	        process->cgroup_id != sample->cgroup_id) {
		/* Moved while it ran. */
		struct process *next = process_table_next_life(
		        table, process, observation->time_ns);
		if (next) {
			process_inherit_code(next, process);
			process = next;
		}
	}
	if (sample->has_cgroup) {
		process->cgroup_id = sample->cgroup_id;
		process->has_cgroup = true;
	}
	process_outlives(process, observation->time_ns);
	if (process->sampled)
		return process;

	process->sampled = true;
	if (process->start_ticks == 0)
		process->start_ticks = sample->start_ns / TICK_NS;
	process_table_know_origin(table, process);
	if (!process->has_cgroup)
		process_table_know_cgroup(table, process);
	process_table_know_environ(table, process);
	return process;
}

bool process_table_place(struct process_table *table, struct process *process, uint64_t address,
        bool must, struct code_place *ret_place)
{
	if (address >= VSYSCALL_START && address < VSYSCALL_END) {
		*ret_place = (struct code_place){ .is_vsyscall = true };
		return true;
	}
	process_table_know_maps(table, process);
	const struct mapping *mapping = mappings_find(process->mappings, address);
	if (!mapping && must && process->refreshed != table->interval && process->end_ns == 0) {
		process->refreshed = table->interval;
		process_table_read_maps(table, process);
		mapping = mappings_find(process->mappings, address);
	}
	if (!mapping)
		return false;
	*ret_place = (struct code_place){
		.file = mapping->file,
		.offset = address - mapping->start + mapping->offset,
	};
	return true;
}

static const char *process_table_cgroup_path(struct process_table *table, struct process *process)
{
	if (process->has_cgroup) {
		if (process->cgroup_id == 0)
			return "/";
		const struct cgroup_name *place = process_table_cgroup_place(
		        table, process->cgroup_id);
		if (place->path && place->id == process->cgroup_id)
			return place->path;
		if (!process->cgroup)
			process_table_know_cgroup(table, process);
	}
	return process->cgroup ? process->cgroup : "";
}

struct process_facts process_table_facts(struct process_table *table, struct process *process)
{
	return (struct process_facts){
		.pid = process->pid,
		.start_ticks = process->start_ticks,
		.group = process->group,
		.group_start_ticks = process->group_start_ticks ? process->group_start_ticks
		                                                : process->start_ticks,
		.comm = process->comm,
		.exe = process->exe ? process->exe : "",
		.cgroup = process_table_cgroup_path(table, process),
		.environ = process->environ,
		.environ_bytes = process->environ_bytes,
	};
}

void process_table_each(struct process_table *table,
        void (*on_process)(void *owner, struct process *process), void *owner)
{
	for (uint32_t bucket = 0; bucket < PROCESS_BUCKETS; bucket++) {
		for (struct process *process = table->buckets[bucket]; process;
		        process = process->next)
			on_process(owner, process);
	}
}

/* The first thread ended, but others did not. Or, with a life that lasts, whether it really does.
 */
static bool process_table_is_alive(struct process_table *table, const struct process *process)
{
	struct proc_stat stat;

	if (process_table_stat(table, process->pid, &stat) < 0)
		return false;
	if (process->start_ticks != 0 && stat.start_ticks != process->start_ticks)
		return false;
	return (stat.state != 'Z' && stat.state != 'X') || stat.threads > 1;
}

static bool process_table_is_over(
        struct process_table *table, struct process *process, uint64_t end_ns, bool verify)
{
	bool is_last = process_table_last(table, process->pid) == process;

	if (process->end_ns == 0) {
		if (verify && !process_table_is_alive(table, process))
			process->end_ns = end_ns; /* Kept for one interval more. */
		return false;
	}
	/* A little longer than its interval: samples of the exit itself may come yet. */
	if (process->end_ns + (is_last ? PROCESS_KEPT_NS : 0) > end_ns)
		return false;
	if (is_last && process->sampled && process_table_is_alive(table, process)) {
		process->end_ns = 0;
		return false;
	}
	return true;
}

void process_table_close_interval(struct process_table *table, uint64_t end_ns, bool verify)
{
	table->interval++;
	for (uint32_t bucket = 0; bucket < PROCESS_BUCKETS; bucket++) {
		struct process **link = &table->buckets[bucket];
		while (*link) {
			struct process *process = *link;
			if (!process_table_is_over(table, process, end_ns, verify)) {
				link = &process->next;
				continue;
			}
			*link = process->next;
			process_free(table, process);
		}
	}
}

uint32_t process_table_count(const struct process_table *table)
{
	return table->count;
}
