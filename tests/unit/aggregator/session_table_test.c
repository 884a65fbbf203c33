/* session_table: bounded by memory, and never by dropping whoever is in the middle of something. */

#include "aggregator/session_table.h"

#include <stdio.h>
#include <string.h>

#include "tests/lib/test.h"

static struct session *open_session(struct session_table *table, const char *host)
{
	struct wire_hello hello = {
		.version_min = 1,
		.version_max = 1,
		.role = WIRE_ROLE_AGENT,
		.host = { .bytes = host, .count = (uint32_t)strlen(host) },
	};
	struct session *session = NULL;
	CHECK_OK(session_table_open(table, &hello, &session));
	assert_true(session && session->id != 0);
	return session;
}

/* Gives the session's dictionary a few hundred kilobytes. */
static void grow(struct session_table *table, struct session *session)
{
	char text[64];
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t id;
		int count = snprintf(
		        text, sizeof(text), "a rather long function name number %u", i);
		CHECK_OK(dict_string(session->dict, text, (size_t)count, &id));
	}
	session_table_settle(table, session);
}

static struct session_table *table_of(uint64_t memory_max)
{
	return session_table_new((struct session_table_options){
	        .memory_max = memory_max,
	        .nodes_max = 65536,
	});
}

static void a_session_is_found_by_its_id_until_it_is_dropped(void **state)
{
	(void)state;
	AUTO(session_table) table = table_of(64u << 20);
	struct session *a = open_session(table, "a"), *b = open_session(table, "b");
	uint64_t id = a->id;

	assert_true(session_table_find(table, id) == a && session_table_find(table, b->id) == b);
	assert_true(session_table_find(table, 0) == NULL);
	assert_true(strcmp(a->host, "a") == 0 && a->request_next == 1);
	session_table_drop(table, a);
	assert_true(session_table_find(table, id) == NULL);
	assert_true(session_table_find(table, b->id) == b);
	assert_true(session_table_state(table).sessions == 1 &&
	            session_table_state(table).dropped == 0);
}

static void the_longest_idle_goes_when_memory_is_short(void **state)
{
	(void)state;
	AUTO(session_table) table = table_of(1);
	struct session *a = open_session(table, "a");
	uint64_t id_a = a->id;
	grow(table, a); /* alone, it stays whatever its size */
	assert_true(session_table_find(table, id_a) == a);

	struct session *b = open_session(table, "b");
	assert_true(session_table_find(table, id_a) == NULL);
	assert_true(session_table_find(table, b->id) == b);
	assert_true(session_table_state(table).dropped == 1);
	assert_true(session_table_state(table).memory == b->memory);
}

static void a_session_in_a_group_is_never_dropped_for_memory(void **state)
{
	(void)state;
	AUTO(session_table) table = table_of(1);
	struct session *waiting = open_session(table, "waiting");
	waiting->in_group = true;
	struct session *other = open_session(table, "other");
	grow(table, other);
	assert_true(session_table_find(table, waiting->id) == waiting);

	waiting->in_group = false;
	session_table_settle(table, other);
	assert_true(session_table_state(table).sessions == 1);
}

/* A host name longer than its place is cut, not spilled. */
static void long_names_are_cut(void **state)
{
	(void)state;
	AUTO(session_table) table = table_of(64u << 20);
	char host[SESSION_HOST_BYTES * 2];
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = 0;
	struct session *session = open_session(table, host);
	host[SESSION_HOST_BYTES - 1] = 0;
	assert_string_equal(session->host, host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_found_by_its_id_until_it_is_dropped),
		cmocka_unit_test(the_longest_idle_goes_when_memory_is_short),
		cmocka_unit_test(a_session_in_a_group_is_never_dropped_for_memory),
		cmocka_unit_test(long_names_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
