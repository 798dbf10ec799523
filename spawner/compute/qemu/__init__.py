"""The compute driver that runs QEMU directly.

    accelerator.probe() -> Accelerator          kvm or tcg, and why          accelerator.py, boot_sector.py
    RunDirectory.create()                       sockets, staged files        run_directory.py
    Vm(spec, run, accelerator, [attachment])    start, wait, stop, events    vm.py
        qemu_argv(spec, wiring, binary)         pure, a function a device    argv.py, option.py
        QemuProcess                             one process and its QMP      process.py
        launch                                  the program that becomes QEMU, without root and tied to us
        ConsoleRing                             what the console printed     console.py

The order of things, as `image_harness.boot` does it:

    run = RunDirectory.create()                     # then: the metadata server listens on run.metadata_socket
    attachment = choose.probe("qemu-system-x86_64").backend.attach(run.metadata_socket, run.path)
    async with Vm(spec, run, accelerator.probe(), [attachment]) as vm:
        async for event in vm.events(): ...
        ending = await vm.wait()                    # and on leaving: nothing is left behind
"""
