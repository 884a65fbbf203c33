/*
 * import_ack measures how long a file waits for its acknowledgement: it sends the files of a
 * bench.fleet folder as `profleet import` does, by the same code and with the labels of index.tsv,
 * from so many threads, each with a session of its own, each waiting before it sends the next.
 *
 *	bench.import_ack ADDRESS THREADS FOLDER [FILES_MAX]
 *
 * Files are read beforehand, so that what is timed is what a pusher waits for: HELLO, the packing,
 * the PUSH and its acknowledgement. One line: files, rows, seconds, and the waiting in ms.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/fleet.h"
#include "core/clock.h"
#include "query/client.h"
#include "query/profile_file.h"
#include "query/push_session.h"

#define ACK_FILES_MAX   100000
#define ACK_THREADS_MAX 256
#define ACK_FIELDS      (5 + FLEET_LABELS)

struct ack {
	struct shared_args shared;
	struct profile_file *files;
	uint64_t *waited_ns;
	uint32_t count;
	uint32_t next;
	int code;
};

/* One line of the index: the file read and stamped. An exit code. */
static int ack_read(struct ack *ack, const char *folder, char *line)
{
	char *fields[ACK_FIELDS];
	char *rest = line;
	for (uint32_t i = 0; i < ACK_FIELDS; i++) {
		fields[i] = strsep(&rest, "\t\n");
		if (!fields[i])
			return 1;
	}
	char path[4096];
	char labels[FLEET_LABELS][160];
	const char *pointers[FLEET_LABELS];
	snprintf(path, sizeof(path), "%s/%s.pb.gz", folder, fields[0]);
	for (uint32_t i = 0; i < FLEET_LABELS; i++) {
		snprintf(
		        labels[i], sizeof(labels[i]), "%s=%s", fleet_label_names[i], fields[5 + i]);
		pointers[i] = labels[i];
	}
	struct profile_file_options options = {
		.form = PROFILE_FILE_PPROF,
		.labels = pointers,
		.labels_count = FLEET_LABELS,
	};
	struct profile_file *file = &ack->files[ack->count];
	int code = profile_file_read(path, &options, file);
	if (code)
		return code;
	file->batch->start_ns = file->report.time_unix_ns;
	file->batch->duration_ns = file->report.duration_ns;
	if (batch_add_coverage(file->batch, 0, file->report.duration_ns) < 0 ||
	        batch_settle(file->batch) < 0)
		return 1;
	ack->count++;
	return 0;
}

static int ack_read_all(struct ack *ack, const char *folder, uint32_t files_max)
{
	char path[4096];
	char line[1024];
	snprintf(path, sizeof(path), "%s/index.tsv", folder);
	FILE *index = fopen(path, "re");
	if (!index) {
		fprintf(stderr, "bench.import_ack: %s: %s\n", path, strerror(errno));
		return 1;
	}
	int code = fgets(line, sizeof(line), index) ? 0 : 1; /* the head */
	while (code == 0 && ack->count < files_max && fgets(line, sizeof(line), index))
		code = ack_read(ack, folder, line);
	(void)fclose(index);
	return code;
}

static void *ack_run(void *argument)
{
	struct ack *ack = argument;
	AUTO(client) client = NULL;
	AUTO(push_session) session = NULL;
	int code = client_open(&ack->shared, &client);
	if (code == 0)
		code = push_session_open(client, &session);
	while (code == 0) {
		uint32_t i = __atomic_fetch_add(&ack->next, 1, __ATOMIC_RELAXED);
		if (i >= ack->count)
			return NULL;
		uint64_t before_ns = clock_monotonic_ns(clock_real());
		code = push_session_send(
		        session, "a file", ack->files[i].batch, (struct push_progress){ 0 });
		ack->waited_ns[i] = clock_monotonic_ns(clock_real()) - before_ns;
	}
	__atomic_store_n(&ack->code, code, __ATOMIC_RELAXED);
	return NULL;
}

static int ack_compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static void ack_print(struct ack *ack, uint64_t elapsed_ns)
{
	uint64_t rows = 0;
	uint32_t median = ack->count / 2;
	uint32_t late = (uint32_t)((uint64_t)ack->count * 99 / 100);
	for (uint32_t i = 0; i < ack->count; i++)
		rows += ack->files[i].batch->rows_count;
	qsort(ack->waited_ns, ack->count, sizeof(*ack->waited_ns), ack_compare);
	printf("files %u rows %llu seconds %.3f ms_p50 %.3f ms_p99 %.3f ms_max %.3f\n", ack->count,
	        (unsigned long long)rows, (double)elapsed_ns / 1e9,
	        (double)ack->waited_ns[median] / 1e6, (double)ack->waited_ns[late] / 1e6,
	        (double)ack->waited_ns[ack->count - 1] / 1e6);
}

int main(int argc, char **argv)
{
	unsigned long threads_count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	if (argc < 4 || threads_count == 0 || threads_count > ACK_THREADS_MAX) {
		fprintf(stderr, "usage: bench.import_ack ADDRESS THREADS FOLDER [FILES_MAX]\n");
		return 2;
	}
	unsigned long files_max = argc > 4 ? strtoul(argv[4], NULL, 10) : ACK_FILES_MAX;
	if (files_max > ACK_FILES_MAX)
		files_max = ACK_FILES_MAX;
	autofree struct profile_file *files = calloc(files_max, sizeof(*files));
	autofree uint64_t *waited_ns = calloc(files_max, sizeof(*waited_ns));
	struct ack ack = {
		.shared = { .server = argv[1], .timeout_ns = 120 * NS_PER_S },
		.files = files,
		.waited_ns = waited_ns,
	};
	if (!files || !waited_ns)
		return 1;
	int code = ack_read_all(&ack, argv[3], (uint32_t)files_max);
	if (code || ack.count == 0)
		return code ? code : 1;

	pthread_t threads[ACK_THREADS_MAX];
	uint64_t before_ns = clock_monotonic_ns(clock_real());
	for (unsigned long i = 0; i < threads_count; i++)
		if (pthread_create(&threads[i], NULL, ack_run, &ack) != 0)
			return 1;
	for (unsigned long i = 0; i < threads_count; i++)
		(void)pthread_join(threads[i], NULL);
	if (ack.code == 0)
		ack_print(&ack, clock_monotonic_ns(clock_real()) - before_ns);
	for (uint32_t i = 0; i < ack.count; i++)
		profile_file_fini(&files[i]);
	return ack.code;
}
