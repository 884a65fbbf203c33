/*
 * A plain array of pointers: a few hundred senders that push every ten seconds are found faster by
 * looking at each than the message is unpacked, and dropping the longest idle needs the walk
 * anyway.
 */

#include "aggregator/session_table.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "core/rng.h"

struct session_table {
	struct session_table_options options;
	struct session **sessions;
	uint64_t uses;
	pthread_mutex_t lock; /* of state and options.memory_max, which other threads see */
	struct session_table_state state;
};

struct session_table *session_table_new(struct session_table_options options)
{
	AUTO(session_table) table = calloc(1, sizeof(*table));
	if (!table)
		return NULL;
	table->options = options;
	(void)pthread_mutex_init(&table->lock, NULL);
	table->sessions = calloc(SESSIONS_MAX, sizeof(struct session *));
	if (!table->sessions)
		return NULL;
	return TAKE(table);
}

static void session_free(struct session *session)
{
	if (!session)
		return;
	dict_remap_free(session->remap);
	dict_free(session->dict);
	free(session->unresolved);
	free(session);
}

static void session_auto(struct session **session)
{
	session_free(*session);
}

void session_table_free(struct session_table *table)
{
	if (!table)
		return;
	for (uint32_t i = 0; i < table->state.sessions; i++)
		session_free(table->sessions[i]);
	(void)pthread_mutex_destroy(&table->lock);
	free(table->sessions);
	free(table);
}

static void session_table_remove(struct session_table *table, uint32_t index)
{
	struct session *session = table->sessions[index];
	(void)pthread_mutex_lock(&table->lock);
	table->state.memory -= session->memory;
	table->sessions[index] = table->sessions[--table->state.sessions];
	(void)pthread_mutex_unlock(&table->lock);
	session_free(session);
}

/* The longest idle session but `keep`, or UINT32_MAX. */
static uint32_t session_table_idlest(const struct session_table *table, const struct session *keep)
{
	uint32_t idlest = UINT32_MAX;
	for (uint32_t i = 0; i < table->state.sessions; i++) {
		if (table->sessions[i] == keep || table->sessions[i]->in_group)
			continue;
		if (idlest == UINT32_MAX ||
		        table->sessions[i]->used_at < table->sessions[idlest]->used_at)
			idlest = i;
	}
	return idlest;
}

static void session_table_shrink(struct session_table *table, const struct session *keep)
{
	for (;;) {
		(void)pthread_mutex_lock(&table->lock);
		bool fits = table->state.memory <= table->options.memory_max &&
		            table->state.sessions < SESSIONS_MAX;
		(void)pthread_mutex_unlock(&table->lock);
		uint32_t idlest = fits ? UINT32_MAX : session_table_idlest(table, keep);
		if (idlest == UINT32_MAX)
			return;
		session_table_remove(table, idlest);
		(void)pthread_mutex_lock(&table->lock);
		table->state.dropped++;
		(void)pthread_mutex_unlock(&table->lock);
	}
}

static void copy_text(struct wire_text from, char *to, size_t to_bytes)
{
	size_t count = from.count < to_bytes - 1 ? from.count : to_bytes - 1;
	if (count)
		memcpy(to, from.bytes, count);
	to[count] = 0;
}

static int session_new(const struct session_table *table, const struct wire_hello *hello,
        struct session **ret_session)
{
	__attribute__((cleanup(session_auto))) struct session *session = calloc(
	        1, sizeof(*session));
	if (!session)
		return -ENOMEM;

	do {
		int r = rng_os_bytes(&session->id, sizeof(session->id));
		if (r < 0)
			return r;
	} while (session->id == 0);

	/*
	 * A sender that goes past any of these starts a new session and sends again. A frame that
	 * is of use is on a node; it has two names, a file and little else.
	 */
	uint32_t nodes_max = table->options.nodes_max;
	struct dict_limits limits = {
		.strings = 4 * nodes_max,
		.modules = nodes_max,
		.frames = nodes_max,
		.nodes = nodes_max,
		.series = nodes_max,
		.string_bytes = (uint64_t)nodes_max * SESSION_STRING_BYTES_EACH,
	};
	session->request_next = 1;
	session->uuid = hello->uuid;
	session->epoch = hello->epoch;
	session->role = hello->role;
	session->modules_seen = 1; /* module 0 is no module */
	copy_text(hello->host, session->host, sizeof(session->host));
	copy_text(hello->program, session->program, sizeof(session->program));
	copy_text(hello->tenant, session->tenant, sizeof(session->tenant));
	session->dict = dict_new(limits);
	if (!session->dict)
		return -ENOMEM;
	session->remap = dict_remap_new(session->dict, NULL);
	if (!session->remap)
		return -ENOMEM;

	*ret_session = TAKE(session);
	return 0;
}

int session_table_open(
        struct session_table *table, const struct wire_hello *hello, struct session **ret_session)
{
	struct session *session = NULL;
	int r = session_new(table, hello, &session);
	if (r < 0)
		return r;

	session_table_shrink(table, NULL);
	session->used_at = ++table->uses;
	session->memory = dict_memory(session->dict);
	(void)pthread_mutex_lock(&table->lock);
	bool fits = table->state.sessions < SESSIONS_MAX; /* not when all are in one group */
	if (fits) {
		table->sessions[table->state.sessions++] = session;
		table->state.memory += session->memory;
	}
	(void)pthread_mutex_unlock(&table->lock);
	if (!fits) {
		session_free(session);
		return -ENOMEM;
	}
	*ret_session = session;
	return 0;
}

struct session *session_table_find(struct session_table *table, uint64_t id)
{
	for (uint32_t i = 0; i < table->state.sessions; i++) {
		if (table->sessions[i]->id == id) {
			table->sessions[i]->used_at = ++table->uses;
			return table->sessions[i];
		}
	}
	return NULL;
}

void session_table_drop(struct session_table *table, struct session *session)
{
	for (uint32_t i = 0; i < table->state.sessions; i++) {
		if (table->sessions[i] == session) {
			session_table_remove(table, i);
			return;
		}
	}
	assert(!"a session that is not in its table");
}

void session_table_settle(struct session_table *table, struct session *session)
{
	/* The remap holds about one u32 per entry of the dict; the dict is what grows. */
	size_t memory = dict_memory(session->dict);
	(void)pthread_mutex_lock(&table->lock);
	table->state.memory += memory - session->memory;
	(void)pthread_mutex_unlock(&table->lock);
	session->memory = memory;
	session_table_shrink(table, session);
}

void session_table_set_memory_max(struct session_table *table, uint64_t memory_max)
{
	(void)pthread_mutex_lock(&table->lock);
	table->options.memory_max = memory_max;
	(void)pthread_mutex_unlock(&table->lock);
}

struct session_table_state session_table_state(struct session_table *table)
{
	(void)pthread_mutex_lock(&table->lock);
	struct session_table_state state = table->state;
	(void)pthread_mutex_unlock(&table->lock);
	return state;
}
