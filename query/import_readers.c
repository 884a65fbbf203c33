/*
 * Whoever wants a file puts it into a list, where it lies until a thread has read it. The threads
 * wait where the list is empty, and where the window is full.
 */

#include "query/import_readers.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/clock.h"
#include "query/import_window.h"

#define IMPORT_READERS_MAX 64
/* How much nicer than those who send: a tenth of their right to a processor. */
#define IMPORT_READERS_NICENESS 10

/* A file that is wanted. It lies with the caller of import_readers_read(), who waits for it. */
struct import_reading {
	const char *path;
	const struct profile_file_options *options;
	struct profile_file *file;
	int code;
	bool is_done;
	pthread_cond_t done; /* of its own: many wait, and one of them is meant */
	struct import_reading *next;
};

struct import_readers {
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wanted;
	struct import_reading *first;
	struct import_reading **last;
	struct import_window window;
	uint32_t under_way;
	bool is_over;

	pthread_t threads[IMPORT_READERS_MAX];
	uint32_t threads_count;
};

static bool import_readers_may_take(struct import_readers *readers)
{
	if (!readers->first)
		return false;
	if (readers->under_way < readers->window.size)
		return true;
	import_window_holds(&readers->window);
	return false;
}

/* The next one that is wanted, or NULL when it is over. Under the lock. */
static struct import_reading *import_readers_take(struct import_readers *readers)
{
	while (!import_readers_may_take(readers) && !readers->is_over)
		(void)pthread_cond_wait(&readers->wanted, &readers->lock);
	struct import_reading *reading = readers->first;
	if (reading)
		readers->first = reading->next;
	if (!readers->first)
		readers->last = &readers->first;
	readers->under_way += reading ? 1 : 0;
	return reading;
}

/* Under the lock. */
static void import_readers_end_one(struct import_readers *readers)
{
	readers->under_way--;
	(void)pthread_cond_broadcast(&readers->wanted);
}

static void *import_readers_run(void *opaque)
{
	struct import_readers *readers = opaque;
	/* Linux keeps it for each thread. Being nicer is always allowed, and no more than a wish.
	 */
	(void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + IMPORT_READERS_NICENESS);

	struct import_reading *reading;
	(void)pthread_mutex_lock(&readers->lock);
	while ((reading = import_readers_take(readers))) {
		(void)pthread_mutex_unlock(&readers->lock);
		reading->code = profile_file_read(reading->path, reading->options, reading->file);
		(void)pthread_mutex_lock(&readers->lock);
		if (reading->code)
			import_readers_end_one(readers);
		reading->is_done = true; /* Its owner may be gone right after the lock. */
		(void)pthread_cond_signal(&reading->done);
	}
	(void)pthread_mutex_unlock(&readers->lock);
	return NULL;
}

int import_readers_new(uint32_t files_max, struct import_readers **ret_readers)
{
	AUTO(import_readers) readers = calloc(1, sizeof(*readers));
	if (!readers)
		return -ENOMEM;
	readers->last = &readers->first;
	(void)pthread_mutex_init(&readers->lock, NULL); /* Cannot fail with default attributes. */
	(void)pthread_cond_init(&readers->wanted, NULL);

	cpu_set_t cpus;
	uint32_t count = 1;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		count = (uint32_t)CPU_COUNT(&cpus);
	if (count > IMPORT_READERS_MAX)
		count = IMPORT_READERS_MAX;
	if (count > files_max)
		count = files_max;
	/* While each thread reads, one file more can be sent. */
	readers->window = import_window_of(count + 1 < files_max ? count + 1 : files_max, files_max,
	        clock_monotonic_ns(clock_real()));
	int r = 0;
	while (readers->threads_count < count && r == 0) {
		r = -pthread_create(&readers->threads[readers->threads_count], NULL,
		        import_readers_run, readers);
		readers->threads_count += r == 0;
	}
	if (readers->threads_count == 0)
		return r;
	*ret_readers = TAKE(readers);
	return 0;
}

void import_readers_free(struct import_readers *readers)
{
	if (!readers)
		return;
	(void)pthread_mutex_lock(&readers->lock);
	readers->is_over = true;
	(void)pthread_cond_broadcast(&readers->wanted);
	(void)pthread_mutex_unlock(&readers->lock);
	for (uint32_t i = 0; i < readers->threads_count; i++)
		(void)pthread_join(readers->threads[i], NULL);
	(void)pthread_cond_destroy(&readers->wanted);
	(void)pthread_mutex_destroy(&readers->lock);
	free(readers);
}

int import_readers_read(struct import_readers *readers, const char *path,
        const struct profile_file_options *options, struct profile_file *ret_file)
{
	struct import_reading reading = { .path = path, .options = options, .file = ret_file };

	(void)pthread_cond_init(&reading.done, NULL);
	(void)pthread_mutex_lock(&readers->lock);
	*readers->last = &reading;
	readers->last = &reading.next;
	(void)pthread_cond_signal(&readers->wanted);
	while (!reading.is_done)
		(void)pthread_cond_wait(&reading.done, &readers->lock);
	(void)pthread_mutex_unlock(&readers->lock);
	(void)pthread_cond_destroy(&reading.done);
	return reading.code;
}

void import_readers_acked(struct import_readers *readers, uint64_t waited_ns)
{
	(void)pthread_mutex_lock(&readers->lock);
	import_window_acked(&readers->window, clock_monotonic_ns(clock_real()), waited_ns);
	import_readers_end_one(readers);
	(void)pthread_mutex_unlock(&readers->lock);
}

void import_readers_dropped(struct import_readers *readers)
{
	(void)pthread_mutex_lock(&readers->lock);
	import_readers_end_one(readers);
	(void)pthread_mutex_unlock(&readers->lock);
}
