# anymal_eval with Java (METEOR, SPICE), on the processor or with CUDA: docs/recipes.md has the commands.
FROM python:3.11-slim

RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends default-jre-headless \
    && rm -rf /var/lib/apt/lists/*

# The build of torch: the plain one brings CUDA; PyTorch's index of CPU wheels makes the image 5 GB smaller.
ARG TORCH_INDEX=""
ARG EXTRAS="vision"
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/anymal_eval
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY anymal_eval anymal_eval
COPY tasks tasks
RUN pip install -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && pip install -c constraints.txt ".[$EXTRAS]"

# A user without rights, in a folder that is mounted.
RUN useradd --create-home evaluator
USER evaluator
WORKDIR /work
ENTRYPOINT ["anymal-eval"]
CMD ["--help"]
