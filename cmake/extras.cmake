# What is beside the product: services, the demo fleet of deploy/demo (installed to libexec/profleet) and the
# measurements of bench/, built by `cmake --build <build> --target bench`.

# PROGRAM_MAJOR_MINOR.c becomes demo/MAJOR.MINOR/PROGRAM: a new release of a program keeps its name, and a
# comparison joins functions by name and module.
file(GLOB demos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/deploy/demo/*.c)
foreach(source IN LISTS demos)
	get_filename_component(target ${source} NAME_WE)
	string(REGEX MATCH "^(.+)_([0-9]+)_([0-9]+)$" versioned ${target})
	set(program ${CMAKE_MATCH_1})
	set(version ${CMAKE_MATCH_2}.${CMAKE_MATCH_3})
	if(NOT versioned)
		message(FATAL_ERROR "${source}: call it PROGRAM_MAJOR_MINOR.c")
	endif()
	add_executable(${target} ${source})
	set_target_properties(${target} PROPERTIES OUTPUT_NAME ${program}
		RUNTIME_OUTPUT_DIRECTORY ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/demo/${version})
	target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
	target_link_libraries(${target} PRIVATE profleet::warnings Threads::Threads m)
	# The demo shows whole stacks to a plain frame-pointer walk. Optimizing, gcc leaves the frame out of
	# small leaf functions whatever -fno-omit-frame-pointer says, and its caller is then missing.
	target_compile_options(${target} PRIVATE -O0 -fno-omit-frame-pointer)
	add_dependencies(programs ${target})
	install(TARGETS ${target}
		RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/profleet/demo/${version})
endforeach()

# bench/fleet_*.c is the synthetic fleet, which other measurements and a test stand on too.
file(GLOB fleet_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/fleet_*.c)
add_library(bench-fleet STATIC EXCLUDE_FROM_ALL ${fleet_sources})
target_link_libraries(bench-fleet PUBLIC profleet::storage PRIVATE profleet::warnings)

# Services, as a distribution's package places them.
install(FILES ${CMAKE_SOURCE_DIR}/deploy/systemd/profleet-agent.service
	${CMAKE_SOURCE_DIR}/deploy/systemd/profleet-aggregator.service
	DESTINATION lib/systemd/system)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/systemd/agent.yaml
	${CMAKE_SOURCE_DIR}/deploy/systemd/aggregator.yaml
	DESTINATION ${CMAKE_INSTALL_DATADIR}/profleet/examples)

add_custom_target(bench)
file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
list(REMOVE_ITEM benches ${fleet_sources})
foreach(source IN LISTS benches)
	get_filename_component(name ${source} NAME_WE)
	add_executable(bench.${name} EXCLUDE_FROM_ALL ${source})
	target_link_libraries(bench.${name} PRIVATE bench-fleet profleet::agent profleet::aggregator
		profleet::query profleet::warnings m)
	add_dependencies(bench bench.${name})
endforeach()

# The store beside its peer: several files, one program.
file(GLOB store_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/store/*.c)
add_executable(bench.store EXCLUDE_FROM_ALL ${store_sources})
target_link_libraries(bench.store PRIVATE bench-fleet profleet::aggregator profleet::warnings
	${CMAKE_DL_LIBS} m)
add_dependencies(bench bench.store)
