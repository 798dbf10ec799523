"""The compute driver that runs QEMU directly.

    accelerator.probe() -> Accelerator          kvm or tcg, and why          accelerator.py, boot_sector.py
    RunDirectory.create()                       sockets, staged files        run_directory.py
    Vm(spec, run, accelerator, [attachment])    start, wait, stop, events    vm.py
        qemu_argv(spec, wiring, binary)         pure, a function a device    argv.py, option.py
        Handover                                descriptors instead of paths handover.py
        QemuProcess                             one process and its QMP      process.py
        Channels                                what it says and is told     channels.py
        ConsoleRing                             what the console printed     console.py
    Launcher.start(argv, confinement, ...)      asks the server to fork      launcher.py, confinement.py
        launch_server                           one bare Python a spawner    launch_server.py
        launch                                  the fork that becomes QEMU   launch.py, user.py
    save(vm, path), resume(vm, seed, mac)       boot once, restore often     template.py

The order of things, as `image_harness.boot` does it:

    run = RunDirectory.create()                     # then: the metadata server listens on run.metadata_socket
    attachment = choose.probe("qemu-system-x86_64").backend.attach(run.metadata_socket, run.path)
    async with Vm(spec, run, accelerator.probe(), [attachment]) as vm:
        async for event in vm.events(): ...
        ending = await vm.wait()                    # and on leaving: nothing is left behind
"""
