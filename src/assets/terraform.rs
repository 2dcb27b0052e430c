//! The Terraform modules, as they stand in the repository.
//!
//! Owns the table of what a module consists of. What is for use by hand, the example of its variables
//! and its tests, is not built in.

/// A file of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleFile {
    /// Its name in the module's folder.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// A module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// The name of its folder below `terraform`; empty is that one itself.
    pub folder: &'static str,
    /// What it consists of.
    pub files: &'static [ModuleFile],
}

macro_rules! file {
    ($name:literal) => {
        ModuleFile { name: $name, text: include_str!(concat!("../../terraform/", $name)) }
    };
}

macro_rules! module {
    ($folder:literal: $($name:literal,)*) => {
        Module {
            folder: $folder,
            files: &[$(ModuleFile {
                name: $name,
                text: include_str!(concat!("../../terraform/", $folder, "/", $name)),
            },)*],
        }
    };
}

/// A machine on EC2.
pub const EC2: Module = module!["ec2":
    "main.tf",
    "outputs.tf",
    "server.tf",
    "user-data.sh",
    "variables.tf",
    "versions.tf",
];

/// A machine on Lightsail.
pub const LIGHTSAIL: Module = module!["lightsail":
    "main.tf",
    "outputs.tf",
    "user-data.sh",
    "variables.tf",
    "versions.tf",
];

/// A cluster on EKS.
pub const CLUSTER: Module = Module {
    folder: "",
    files: &[
        file!("eks.tf"),
        file!("iam.tf"),
        file!("main.tf"),
        file!("outputs.tf"),
        file!("security-groups.tf"),
        file!("variables.tf"),
        file!("versions.tf"),
        file!("vpc.tf"),
    ],
};

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// The files of a module's folder that it consists of, in order.
    fn shipped(folder: &str) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("terraform").join(folder);
        let paths = std::fs::read_dir(folder).expect("the module").flatten().map(|it| it.path());
        let shipped = paths.filter(|it| it.extension().is_some_and(|it| it == "tf" || it == "sh"));
        let name = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        let mut names: Vec<_> = shipped.filter_map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn the_tables_name_what_the_folders_hold() {
        for Module { folder, files } in [EC2, LIGHTSAIL, CLUSTER] {
            let named: Vec<_> = files.iter().map(|file| file.name).collect();
            assert_eq!(named, shipped(folder), "terraform/{folder}");
        }
    }
}
