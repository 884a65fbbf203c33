# Programs beside the product: the demo fleet of deploy/demo (installed to libexec/profleet) and the
# measurements of bench/, built by `cmake --build <build> --target bench`.

file(GLOB demos CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/deploy/demo/*.c)
foreach(source IN LISTS demos)
	get_filename_component(name ${source} NAME_WE)
	add_executable(${name} ${source})
	target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
	target_link_libraries(${name} PRIVATE profleet::warnings Threads::Threads m)
	# The demo shows whole stacks to a plain frame-pointer walk. Optimizing, gcc leaves the frame out of
	# small leaf functions whatever -fno-omit-frame-pointer says, and its caller is then missing.
	target_compile_options(${name} PRIVATE -O0 -fno-omit-frame-pointer)
	add_dependencies(programs ${name})
	install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/profleet)
endforeach()

add_custom_target(bench)
file(GLOB benches CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/bench/*.c)
foreach(source IN LISTS benches)
	get_filename_component(name ${source} NAME_WE)
	add_executable(bench.${name} EXCLUDE_FROM_ALL ${source})
	target_link_libraries(bench.${name} PRIVATE profleet::agent profleet::aggregator
		profleet::query profleet::warnings m)
	add_dependencies(bench bench.${name})
endforeach()
