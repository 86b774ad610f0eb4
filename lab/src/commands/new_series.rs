// SPDX-License-Identifier: GPL-2.0

//! The patch series of a new project: the module, and a patch for each of its tests.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use series::git::Person;
use series::project::Project;
use series::source::Source;
use series::weave::{Blob, Mode};
use vmlab::run::files;
use vmlab::run::process;

use crate::commands::series::person;
use crate::project;

/// The last lines of the kernel tree's files that get a new line. They have some lines in front,
/// which stand for the rest of the file: git finds a hunk by its context at any place in the file,
/// except if the hunk begins at the first line.
const BASE: [(&str, &str); 2] = [
    (
        "drivers/misc/Kconfig",
        "#\n#\n#\n#\nsource \"drivers/misc/amd-sbi/Kconfig\"\nsource \"drivers/misc/rp1/Kconfig\"\n\
         source \"drivers/misc/issei/Kconfig\"\nendmenu\n",
    ),
    (
        "drivers/misc/Makefile",
        "#\n#\n#\n#\nobj-y\t\t\t\t+= amd-sbi/\nobj-$(CONFIG_MISC_RP1)\t\t+= rp1/\n\
         obj-$(CONFIG_INTEL_SSEI)\t+= issei/\n",
    ),
];

/// Makes the series of the project in `dir`, whose module is called `name`.
pub(super) fn make(dir: &Path, name: &str) -> Result<()> {
    let settings = project::Project::load(dir)?;
    let base = |path: &str| {
        let found = BASE.iter().find(|(known, _)| *known == path);
        Ok(found.map(|(_, text)| Blob { mode: Mode::Plain, content: text.as_bytes().to_vec() }))
    };
    let scratch = tempfile::TempDir::new().context("create a folder for the series")?;
    let project = Project {
        source: Source::new(dir, &settings.places(), &settings.series.without)?,
        folder: dir.join(&settings.series.folder),
        work: scratch.path().to_owned(),
        base: &base,
        release: None,
    };
    let (author, date) = author(dir)?;
    let series = format!("1-{name}");
    let folder = project.folder.join(&series);
    let head = "# SPDX-License-Identifier: GPL-2.0\n\n# The tree that the series is for.\n\
                tree = \"char-misc-next\"\n";
    files::write_whole(&folder.join("series.toml"), head)?;
    let cover = format!(
        "# misc: {name}: count openings in each network namespace\n\nA small module to begin with. It \
         counts how often its device was opened,\nfor each network namespace on its own.\n\nThe \
         first patch has the module, the others a test each: of the parameter\nand the counter, and of \
         namespaces, which have counters of their own.\n\nWhat it is good for, and what is out of \
         scope, is for its author to say.\n"
    );
    files::write_whole(&folder.join("cover.md"), &cover)?;
    let subjects = [
        (format!("misc: {name}: count openings in each network namespace"), DRIVER),
        (format!("selftests: {name}: check the parameter, and that each open counts"), COUNTER),
        (format!("selftests: {name}: check that namespaces have counters of their own"), SPACES),
    ];
    for (index, (subject, body)) in subjects.iter().enumerate() {
        let message = format!("{subject}\n\n{body}\n");
        project.add(&format!("{series}/{index}"), &message, author.clone(), date.clone())?;
    }
    let rule = |pattern: &str, patch: &str| {
        format!("\n[[file]]\npattern = \"{pattern}\"\npatch = \"{patch}\"\n")
    };
    let tests = format!("tools/testing/selftests/{name}");
    let rules = [
        rule(&format!("drivers/misc/{name}/**"), &subjects[0].0),
        rule(&format!("{tests}/*.c"), &subjects[2].0),
        rule(&format!("{tests}/**"), &subjects[1].0),
    ];
    let text = format!("{head}\n# Where new files go.{}", rules.concat());
    files::write_whole(&folder.join("series.toml"), &text)?;
    let stack = project.stack()?;
    let plan = project.plan(&stack, &[])?;
    project.absorb(stack, &plan)?;
    let makefile = dir.join("selftests/Makefile");
    let text = fs::read_to_string(&makefile).context("read selftests/Makefile")?;
    let line =
        text.lines().position(|line| line.starts_with("TEST_GEN_PROGS")).context("a test")?;
    let line = format!("selftests/Makefile:{}", line + 1).parse()?;
    project.give(&[line], &format!("{series}/3"))?;
    wire(&project, name, &series)
}

const DRIVER: &str = "A counter for each network namespace, and a device that says how often\nit was \
opened in the namespace of the reader.";
const COUNTER: &str = "Load the module with another start, and read the device twice.";
const SPACES: &str = "In C, as it needs unshare() within a process: what is counted in one\n\
namespace is not counted in another.";

/// Adds the files to the first patch that are only in a kernel tree, such as Kconfig.
fn wire(project: &Project<'_>, name: &str, series: &str) -> Result<()> {
    let with: Vec<String> = BASE.iter().map(|(path, _)| (*path).to_owned()).collect();
    let tree = project.begin_edit(&format!("{series}/1"), &with)?;
    let option = name.to_uppercase();
    let [(kconfig, old_kconfig), (makefile, old_makefile)] = BASE;
    let source = format!("source \"drivers/misc/{name}/Kconfig\"\nendmenu\n");
    files::write_whole(&tree.join(kconfig), &old_kconfig.replace("endmenu\n", &source))?;
    let line = format!("obj-$(CONFIG_{option})\t\t+= {name}/\n");
    files::write_whole(&tree.join(makefile), &format!("{old_makefile}{line}"))?;
    let own = tree.join("drivers/misc").join(name);
    let text = format!(
        "# SPDX-License-Identifier: GPL-2.0-only\nconfig {option}\n\
         \ttristate \"Count openings in each network namespace\"\n\tdepends on RUST && NET_NS\n\
         \thelp\n\t  A device, /dev/{name}, that says how often it was opened in the\n\
         \t  network namespace of the reader.\n\n\
         \t  To compile it as a module, choose M here: the module will be called\n\
         \t  {name}. If unsure, say N.\n"
    );
    files::write_whole(&own.join("Kconfig"), &text)?;
    let text = format!(
        "# SPDX-License-Identifier: GPL-2.0\n\nobj-$(CONFIG_{option}) += {name}.o\n\
         {name}-y := {name}_main.o\n"
    );
    files::write_whole(&own.join("Makefile"), &text)?;
    project.finish_edit()?;
    Ok(())
}

/// Who makes the patches, and when; a placeholder if git does not know.
fn author(dir: &Path) -> Result<(Person, String)> {
    let mut git = Command::new("git");
    git.arg("-C").arg(dir).args(["var", "GIT_AUTHOR_IDENT"]);
    let said = process::capture(&mut git)?;
    match person(said.stdout.trim()).filter(|_| said.ok) {
        Some(known) => Ok(known),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let nobody = Person { name: "Your Name".into(), mail: "you@example.org".into() };
            Ok((nobody, format!("{} +0000", now.as_secs())))
        }
    }
}
